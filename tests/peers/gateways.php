<?php
// The calls: commands and questions to one gateway or to all. `Gateways` is abstract in how a packet gets to a
// gateway: a business has links, a client connects for each call.

abstract class Gateways
{
    /** Returns `IP:PORT` of every gateway. */
    abstract public function all(): array;

    /** Sends a packet without an answer. */
    abstract public function push(string $gateway, string $packet): bool;

    /** Sends a question and waits for its answer; null if none comes. */
    abstract public function ask(string $gateway, string $packet);

    public function call(string $name, array $arguments)
    {
        return $this->$name(...$arguments);
    }

    private function to_all(string $packet): bool
    {
        $done = true;
        foreach ($this->all() as $gateway) {
            $done = $this->push($gateway, $packet) && $done;
        }
        return $done;
    }

    private function to(string $client, int $command, string $ext = '', $body = ''): bool
    {
        [$gateway, $id] = parts_of($client);
        return $this->push($gateway, packet($command, $id, $ext, $body));
    }

    private function ask_of(string $client, int $command)
    {
        [$gateway, $id] = parts_of($client);
        return $this->ask($gateway, packet($command, $id));
    }

    /** Asks every gateway; returns the answers by address. */
    private function ask_all(int $command, string $ext = ''): array
    {
        $answers = [];
        foreach ($this->all() as $gateway) {
            $answers[$gateway] = $this->ask($gateway, packet($command, 0, $ext));
        }
        return $answers;
    }

    /** Returns the numbers of clients by gateway, as the maps in packets have them. */
    private function by_gateway(array $clients): array
    {
        $places = [];
        foreach ($clients as $client) {
            [$gateway, $id] = parts_of($client);
            $places[$gateway][$id] = $id;
        }
        return $places;
    }

    public function sendToAll($message, ?array $clients = null, ?array $except = null): bool
    {
        if ($clients !== null) {
            $done = true;
            foreach ($this->by_gateway(array_diff($clients, $except ?? [])) as $gateway => $ids) {
                $ext = json_encode(['connections' => $ids], JSON_FORCE_OBJECT);
                $done = $this->push($gateway, packet(SEND_TO_ALL, 0, $ext, $message)) && $done;
            }
            return $done;
        }
        $excluded = $this->by_gateway($except ?? []);
        $done = true;
        foreach ($this->all() as $gateway) {
            $ids = $excluded[$gateway] ?? [];
            $ext = $ids ? json_encode(['exclude' => $ids], JSON_FORCE_OBJECT) : '';
            $done = $this->push($gateway, packet(SEND_TO_ALL, 0, $ext, $message)) && $done;
        }
        return $done;
    }

    public function sendToClient(string $client, $message): bool
    {
        return $this->to($client, SEND_TO_ONE, '', $message);
    }

    public function closeClient(string $client, $message = null): bool
    {
        return $this->to($client, KICK, '', $message);
    }

    public function destroyClient(string $client): bool
    {
        return $this->to($client, DESTROY);
    }

    public function bindUid(string $client, $uid): bool
    {
        return $this->to($client, BIND_UID, (string) $uid);
    }

    public function unbindUid(string $client, $uid): bool
    {
        return $this->to($client, UNBIND_UID, (string) $uid);
    }

    public function joinGroup(string $client, $group): bool
    {
        return $this->to($client, JOIN, (string) $group);
    }

    public function leaveGroup(string $client, $group): bool
    {
        return $this->to($client, LEAVE, (string) $group);
    }

    public function ungroup($group): bool
    {
        return $this->to_all(packet(UNGROUP, 0, (string) $group));
    }

    public function sendToUid($uid, $message): bool
    {
        return $this->to_all(packet(SEND_TO_UID, 0, json_encode((array) $uid), $message));
    }

    public function sendToGroup($group, $message, ?array $except = null): bool
    {
        $excluded = $this->by_gateway($except ?? []);
        $done = true;
        foreach ($this->all() as $gateway) {
            $ids = isset($excluded[$gateway]) ? (object) $excluded[$gateway] : null;
            $ext = json_encode(['group' => (array) $group, 'exclude' => $ids]);
            $done = $this->push($gateway, packet(SEND_TO_GROUP, 0, $ext, $message)) && $done;
        }
        return $done;
    }

    public function setSession(string $client, array $session): bool
    {
        return $this->to($client, SET_SESSION, serialize($session));
    }

    public function updateSession(string $client, array $session): bool
    {
        return $this->to($client, UPDATE_SESSION, serialize($session));
    }

    public function getSession(string $client): ?array
    {
        return $this->ask_of($client, GET_SESSION);
    }

    public function isOnline(string $client): ?int
    {
        return $this->ask_of($client, IS_ONLINE);
    }

    public function getAllClientIdCount(): int
    {
        return array_sum($this->ask_all(COUNT));
    }

    public function getClientIdCountByGroup($group): int
    {
        return array_sum($this->ask_all(COUNT, (string) $group));
    }

    public function batchGetClientIdCountByGroup(array $groups): array
    {
        $counts = [];
        foreach ($this->ask_all(COUNTS, json_encode($groups)) as $answer) {
            foreach ($answer ?? [] as $group => $count) {
                $counts[$group] = ($counts[$group] ?? 0) + $count;
            }
        }
        return $counts;
    }

    public function getClientIdByUid($uid): array
    {
        return $this->ids($this->ask_all(IDS_BY_UID, (string) $uid));
    }

    public function isUidOnline($uid): int
    {
        return (int) (bool) $this->getClientIdByUid($uid);
    }

    public function batchGetClientIdByUid(array $uids): array
    {
        $clients = [];
        foreach ($this->ask_all(IDS_BY_UIDS, json_encode($uids)) as $gateway => $answer) {
            foreach ($answer ?? [] as $uid => $ids) {
                $clients[$uid] = array_merge($clients[$uid] ?? [], $this->ids([$gateway => $ids]));
            }
        }
        return $clients;
    }

    public function getAllGroupIdList(): array
    {
        $groups = array_merge(...array_values(array_filter($this->ask_all(GROUPS))));
        return array_values(array_unique(array_map('strval', $groups)));
    }

    public function getAllClientSessions(): array
    {
        return $this->sessions($this->ask_all(ALL_SESSIONS));
    }

    public function getClientSessionsByGroup($group): array
    {
        return $this->sessions($this->ask_all(SESSIONS_BY_GROUP, (string) $group));
    }

    public function getUidByClientId(string $client): ?string
    {
        [$gateway, $id] = parts_of($client);
        $where = ['connection_id' => (object) [$id => $id]];
        $select = json_encode(['fields' => ['uid'], 'where' => $where]);
        return $this->ask($gateway, packet(SELECT, 0, $select))[$id]['uid'] ?? null;
    }

    public function getAllClientIdList(): array
    {
        return array_keys($this->select(['uid']));
    }

    public function getClientIdListByGroup($group): array
    {
        return array_keys($this->select(['uid'], ['groups' => (array) $group]));
    }

    public function getAllUidList(): array
    {
        $uids = array_filter(array_column($this->select(['uid']), 'uid'), 'is_string');
        return array_values(array_unique($uids));
    }

    public function getUidListByGroup($group): array
    {
        $found = $this->select(['uid'], ['groups' => (array) $group]);
        return array_values(array_unique(array_filter(array_column($found, 'uid'), 'is_string')));
    }

    public function getAllGroupClientIdList(): array
    {
        $groups = [];
        foreach ($this->select(['groups']) as $client => $fields) {
            foreach ($fields['groups'] ?? [] as $group) {
                $groups[$group][] = $client;
            }
        }
        return $groups;
    }

    /** Returns the fields of clients, by their ids. */
    private function select(array $fields, array $where = []): array
    {
        $found = [];
        $select = json_encode(['fields' => $fields, 'where' => $where]);
        foreach ($this->ask_all(SELECT, $select) as $gateway => $answer) {
            foreach ($answer ?? [] as $id => $values) {
                $found[$this->id($gateway, $id)] = $values;
            }
        }
        return $found;
    }

    private function sessions(array $answers): array
    {
        $sessions = [];
        foreach ($answers as $gateway => $answer) {
            foreach ($answer ?? [] as $id => $session) {
                $sessions[$this->id($gateway, $id)] = $session === '' ? [] : unserialize($session);
            }
        }
        return $sessions;
    }

    private function ids(array $answers): array
    {
        $clients = [];
        foreach ($answers as $gateway => $ids) {
            foreach ($ids ?? [] as $id) {
                $clients[] = $this->id($gateway, $id);
            }
        }
        return $clients;
    }

    private function id(string $gateway, int $id): string
    {
        [$ip, $port] = explode(':', $gateway);
        return client_id(ip2long($ip), (int) $port, $id);
    }
}
