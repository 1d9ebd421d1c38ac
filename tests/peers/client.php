<?php
// What a web server in PHP does to a cluster: php client.php REGISTER KEY. Reads a call a line, `{"call": NAME,
// "args": […]}`, and says its result. As GatewayClient, it asks the register and connects for each call, and shows the
// key before each packet if there is one.

require __DIR__ . '/wire.php';
require __DIR__ . '/gateways.php';

final class Visitor extends Gateways
{
    public function __construct(private string $register, private string $key)
    {
    }

    public function all(): array
    {
        $stream = connected($this->register) ?: throw new Exception("no register at {$this->register}");
        write_all($stream, question($this->key));
        $line = fgets($stream);
        return addresses((string) $line) ?? throw new Exception('the register gave no list');
    }

    public function push(string $gateway, string $packet): bool
    {
        $stream = $this->introduced($gateway, $packet);
        // Closed only when it has been read: what closes with bytes unread resets the connection.
        return $stream && stream_socket_shutdown($stream, STREAM_SHUT_WR) && !fread($stream, 1);
    }

    public function ask(string $gateway, string $packet)
    {
        $stream = $this->introduced($gateway, $packet);
        return $stream ? read_reply($stream) : null;
    }

    private function introduced(string $gateway, string $packet)
    {
        $stream = connected($gateway);
        $login = packet(CLIENT_CONNECT, 0, '', json_encode(['secret_key' => $this->key]));
        $bytes = $this->key === '' ? $packet : $login . $packet;
        return $stream && write_all($stream, $bytes) ? $stream : false;
    }
}

$visitor = new Visitor($argv[1], $argv[2] ?? '');
while (($line = fgets(STDIN)) !== false) {
    $order = json_decode($line, true);
    try {
        $said = ['result' => $visitor->call($order['call'], $order['args'])];
    } catch (Throwable $error) {
        $said = ['error' => $error->getMessage()];
    }
    echo json_encode($said), "\n";
}
