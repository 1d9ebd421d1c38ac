<?php
// GatewayWorker's inner protocol, written from its description and not from its code: what business.php and
// client.php share. Packets are 28 bytes of header (big endian), ext data and a body.

const ON_CONNECT = 1, ON_MESSAGE = 3, ON_CLOSE = 4, ON_WEBSOCKET_CONNECT = 205;
const SEND_TO_ONE = 5, SEND_TO_ALL = 6, KICK = 7, DESTROY = 8, UPDATE_SESSION = 9, SET_SESSION = 204;
const BIND_UID = 12, UNBIND_UID = 13, SEND_TO_UID = 14, JOIN = 20, LEAVE = 21, SEND_TO_GROUP = 22, UNGROUP = 27;
const ALL_SESSIONS = 10, IS_ONLINE = 11, IDS_BY_UID = 15, IDS_BY_UIDS = 16, SESSIONS_BY_GROUP = 23, COUNT = 24;
const SELECT = 25, GROUPS = 26, COUNTS = 28, GET_SESSION = 203;
const WORKER_CONNECT = 200, CLIENT_CONNECT = 202;
const SCALAR = 1;

/** Returns a packet toward a gateway; a body that is no string goes serialized. */
function packet(int $command, int $id = 0, string $ext = '', $body = ''): string
{
    $flags = is_array($body) || $body === null ? 0 : SCALAR;
    $body = $flags ? (string) $body : serialize($body);
    $length = 28 + strlen($ext) + strlen($body);
    return pack('NCNnNnNCnN', $length, $command, 0, 0, 0, 0, $id, $flags, 0, strlen($ext)) . $ext . $body;
}

/** Cuts the first packet off a buffer; null if it is not whole. */
function cut_packet(string &$buffer): ?array
{
    if (strlen($buffer) < 28 || strlen($buffer) < ($length = unpack('N', $buffer)[1])) {
        return null;
    }
    $form = 'Nlength/Ccommand/Nip/nport/Nclient_ip/nclient_port/Nid/Cflags/ngateway_port/Next';
    $packet = unpack($form, $buffer);
    $ext = $packet['ext'];
    $packet['ext'] = substr($buffer, 28, $ext);
    $body = substr($buffer, 28 + $ext, $length - 28 - $ext);
    $plain = ['allowed_classes' => false];
    $packet['body'] = $packet['flags'] & SCALAR ? $body : unserialize($body, $plain);
    $buffer = substr($buffer, $length);
    return $packet;
}

/** Returns a client's id: its gateway's address and its number there. */
function client_id(int $ip, int $port, int $id): string
{
    return bin2hex(pack('NnN', $ip, $port, $id));
}

/** Returns the gateway's address and the number of a client. */
function parts_of(string $client): array
{
    $parts = unpack('Nip/nport/Nid', hex2bin($client));
    return [long2ip($parts['ip']) . ':' . $parts['port'], $parts['id']];
}

function connected(string $address, float $limit = 5)
{
    // Small packets are not to wait for one another: a question on another connection would overtake them.
    $context = stream_context_create(['socket' => ['tcp_nodelay' => true]]);
    $how = STREAM_CLIENT_CONNECT;
    $stream = @stream_socket_client("tcp://$address", $number, $text, $limit, $how, $context);
    if ($stream) {
        stream_set_timeout($stream, (int) $limit);
    }
    return $stream;
}

function write_all($stream, string $bytes): bool
{
    while ($bytes !== '') {
        $written = @fwrite($stream, $bytes);
        if ($written === false || $written === 0) {
            return false;
        }
        $bytes = substr($bytes, $written);
    }
    return true;
}

/** Reads the answer to a question; null if there is none. */
function read_reply($stream)
{
    $head = read_exactly($stream, 4);
    $body = $head === null ? null : read_exactly($stream, unpack('N', $head)[1]);
    return $body === null ? null : unserialize($body, ['allowed_classes' => false]);
}

function read_exactly($stream, int $length): ?string
{
    for ($bytes = ''; strlen($bytes) < $length; $bytes .= $part) {
        $part = @fread($stream, $length - strlen($bytes));
        if ($part === false || $part === '') {
            return null;
        }
    }
    return $bytes;
}

/** Returns the addresses that a register lists: a list, or an object where a duplicate was dropped. */
function addresses(string $line): ?array
{
    $said = json_decode($line, true);
    return ($said['event'] ?? '') === 'broadcast_addresses' ? array_values($said['addresses']) : null;
}

/** Returns what introduces a business or a client to a register. */
function question(string $key): string
{
    return json_encode(['event' => 'worker_connect', 'secret_key' => $key]) . "\n";
}
