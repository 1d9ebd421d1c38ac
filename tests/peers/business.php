<?php
// A business in PHP: php business.php REGISTER KEY NAME. It finds the gateways by the register, links to each, and
// does what its clients say (calls_under_test.rs says what that may be), with sessions as GatewayWorker keeps them: the
// gateway's copy comes with each event, is asked for again where its checksum is not the one known, and is written back
// where a handler has changed it. Says `linked N` when the number of links changes, `connect ID` and `close ID`;
// SIGTERM has it close its links and end, as a reload does.

require __DIR__ . '/wire.php';
require __DIR__ . '/gateways.php';

final class Business extends Gateways
{
    private const PAUSE = 0.1;
    private $discovery = null;
    private string $heard = '';
    /** Addresses that the register lists. */
    private array $listed = [];
    /** Streams and what was read of them, by address. */
    private array $links = [];
    private array $buffers = [];
    /** Connections for questions, by address. */
    private array $questions = [];
    /** The checksum of each client's session as it is known here. */
    private array $known = [];
    private float $next = 0;
    private bool $goes_on = true;

    public function __construct(private string $register, private string $key, private string $name)
    {
    }

    public function all(): array
    {
        return array_keys($this->links);
    }

    public function push(string $gateway, string $packet): bool
    {
        return isset($this->links[$gateway]) && write_all($this->links[$gateway], $packet);
    }

    /** On a connection of its own, as answers on links would be taken for packets. */
    public function ask(string $gateway, string $packet)
    {
        $stream = $this->questions[$gateway] ??= connected($gateway);
        $login = packet(CLIENT_CONNECT, 0, '', json_encode(['secret_key' => $this->key]));
        $bytes = $this->key === '' ? $packet : $login . $packet;
        $answer = $stream && write_all($stream, $bytes) ? read_reply($stream) : null;
        if ($answer === null) {
            unset($this->questions[$gateway]);
        }
        return $answer;
    }

    public function run(): void
    {
        pcntl_async_signals(true);
        pcntl_signal(SIGTERM, function () {
            $this->goes_on = false;
        });
        while ($this->goes_on) {
            if (microtime(true) >= $this->next) {
                $this->next = microtime(true) + self::PAUSE;
                $this->connect();
            }
            $read = array_filter(['' => $this->discovery] + $this->links);
            if (!$read) {
                usleep((int) (self::PAUSE * 1e6));
                continue;
            }
            $write = $except = null;
            if (@stream_select($read, $write, $except, 0, (int) (self::PAUSE * 1e6))) {
                foreach (array_keys($read) as $address) {
                    $address === '' ? $this->hear() : $this->read($address);
                }
            }
        }
    }

    private function connect(): void
    {
        if (!$this->discovery && $this->discovery = connected($this->register)) {
            $this->heard = '';
            write_all($this->discovery, question($this->key));
        }
        foreach (array_diff($this->listed, array_keys($this->links)) as $address) {
            if ($link = connected($address)) {
                $who = ['worker_key' => "$this->name:0", 'secret_key' => $this->key];
                write_all($link, packet(WORKER_CONNECT, 0, '', json_encode($who)));
                $this->links[$address] = $link;
                $this->buffers[$address] = '';
                $this->say('linked ' . count($this->links));
            }
        }
    }

    private function hear(): void
    {
        $part = fread($this->discovery, 65536);
        if ($part === false || $part === '') {
            $this->discovery = null;
            $this->say('unregistered');
            return;
        }
        $lines = explode("\n", $this->heard . $part);
        $this->heard = array_pop($lines);
        foreach ($lines as $line) {
            // An empty list says nothing of links that work.
            $this->listed = addresses($line) ?: $this->listed;
            $this->connect();
        }
    }

    private function read(string $address): void
    {
        $part = @fread($this->links[$address], 1 << 20);
        if ($part === false || $part === '') {
            unset($this->links[$address], $this->buffers[$address], $this->questions[$address]);
            $this->say('linked ' . count($this->links));
            return;
        }
        $this->buffers[$address] .= $part;
        while ($this->goes_on && isset($this->buffers[$address])
            && $packet = cut_packet($this->buffers[$address])) {
            $this->handle($packet);
        }
    }

    private function handle(array $event): void
    {
        if (!in_array($event['command'], [ON_CONNECT, ON_MESSAGE, ON_CLOSE, ON_WEBSOCKET_CONNECT])) {
            return;
        }
        $client = client_id($event['ip'], $event['port'], $event['id']);
        if (isset($this->known[$client]) && crc32($event['ext']) !== $this->known[$client]) {
            $session = $event['command'] === ON_CLOSE ? null : $this->getSession($client);
        }
        $session ??= $event['ext'] === '' ? [] : unserialize($event['ext'], ['allowed_classes' => false]);
        $before = $session;
        match ($event['command']) {
            ON_CONNECT => $this->say("connect $client"),
            ON_MESSAGE => $this->message($client, $event['body'], $session),
            ON_CLOSE => $this->say("close $client"),
            default => null,
        };
        if ($event['command'] === ON_CLOSE) {
            unset($this->known[$client]);
        } elseif ($session !== $before) {
            $this->setSession($client, $session);
            $this->known[$client] = crc32(serialize($session));
        }
    }

    private function message(string $client, $message, array &$session): void
    {
        $order = is_string($message) && strlen($message) < 4096 ? json_decode($message, true) : null;
        if (isset($order['sess'])) {
            $session = array_merge($session, $order['sess']);
        } elseif (isset($order['api'])) {
            $own = ['sendToCurrentClient' => 'sendToClient', 'closeCurrentClient' => 'closeClient'];
            $name = $own[$order['api']] ?? null;
            $arguments = $name ? [$client, ...$order['args']] : $order['args'];
            $result = $order['api'] === 'currentClientId'
                ? $client
                : $this->call($name ?? $order['api'], $arguments);
            if (isset($order['n'])) {
                $this->sendToClient($client, json_encode(['n' => $order['n'], 'result' => $result]));
            }
        } else {
            $this->sendToClient($client, $message);
        }
    }

    private function say(string $line): void
    {
        echo $line, "\n";
    }
}

ini_set('memory_limit', '512M');
(new Business($argv[1], $argv[2], $argv[3]))->run();
