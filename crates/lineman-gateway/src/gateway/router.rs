//! Which business gets a client: the rules, as they are set, and the hashes that some of them go by.
//!
//! `assignment` asks for each client that comes or moves, and `links` chooses. It knows neither.

use std::net::IpAddr;
use std::num::NonZeroU64;

use bytes::Bytes;
use lineman_wire::php;

/// Which business gets a client that comes, or whose business has left.
///
/// A client stays where it is while that link lives, whatever else comes or changes. No business gets one that
/// drains, whose machine is in doubt ([`Gateway::link_timeout`](crate::Gateway::link_timeout)), or that
/// [`Gateway::pinned_to`](crate::Gateway::pinned_to) leaves out; one that is stalled
/// ([`Gateway::stall_limit`](crate::Gateway::stall_limit)) only if all are.
///
/// A hash gives all clients of one key to one business, whichever gateway they are at, by rendezvous hashing over
/// the businesses' addresses, names and numbers: where one leaves, its clients alone go elsewhere, and the process
/// that takes its slot gets its keys. Two gateways agree as far as they see a business at the same address. A key
/// counts when a client is given to a business: while a business is away new clients of its keys go to the next
/// one, and stay there when it is back. [`Prefer`] and links that are full do not count there: who is full
/// makes its clients wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Router {
    /// The one that is least behind, by the age of what it has under way, then its amount, then the one with the
    /// least clients of this gateway process. The default.
    #[default]
    LeastBusy,
    /// Any of the preferred ones, unless its link is full.
    Random,
    /// By the client's address, as the listener's proxies tell it; an IPv6 one by its network (/64), within
    /// which a machine changes it. A client of a Unix socket has none, and goes as by [`Router::LeastBusy`].
    HashOfAddress,
    /// By a parameter of the query that the WebSocket was opened with: `?room=7` for `"room"`. A client without it,
    /// or with an empty one, goes as by [`Router::LeastBusy`].
    HashOfQuery(String),
    /// By the uid that the client has when it is given to a business. A new client has one only if a connect hook
    /// binds it ([`Gateway::connect_hook`](crate::Gateway::connect_hook)), and goes as by [`Router::LeastBusy`]
    /// otherwise: what it is bound to later does not move it. So this brings the clients of one uid
    /// together as businesses leave; for one that is known at once put it into the query
    /// ([`Router::HashOfQuery`]).
    HashOfUid,
}

/// Which businesses a gateway prefers for a new client. A client stays where it is while that link lives, so
/// those that had to go elsewhere stay there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Prefer {
    /// Those of the gateway's own machine, for each message to another one travels there and back. The
    /// default.
    ///
    /// Another machine's gets the client where each one here is stalled or its link is full, has handled
    /// nothing for four times as long as the best one elsewhere (256 ms at least), or has eight times as much
    /// under way (256 events at least). A business is on the same machine if it connects from a loopback
    /// address, or from [`Gateway::lan_ip`](crate::Gateway::lan_ip); one in a container with an address of its own
    /// is elsewhere.
    #[default]
    SameMachine,
    /// None: the one that is least behind, wherever it is.
    Any,
}

/// What is asked of the links for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BusinessChoice {
    LeastBusy,
    /// By this throw of dice.
    Random(u64),
    /// The one with the highest score for this key.
    Owner(NonZeroU64),
}

impl Router {
    /// Returns what a client that comes is routed by, if it stays so.
    pub(super) fn key(&self, address: IpAddr, handshake: &Bytes) -> Option<NonZeroU64> {
        match self {
            Self::HashOfAddress => key_of_address(address),
            Self::HashOfQuery(name) => {
                let handshake = php::unserialize(handshake, php::Limits::default()).ok()?;
                let query = handshake.as_array()?.get("get")?.as_array()?;
                let value = query.get(name.as_str())?.as_bytes()?;
                (!value.is_empty()).then(|| key(value))
            }
            Self::LeastBusy | Self::Random | Self::HashOfUid => None,
        }
    }

    /// Returns how a client with this key and this uid goes now.
    pub(super) fn way(
        &self,
        key_of_client: Option<NonZeroU64>,
        uid: Option<&[u8]>,
    ) -> BusinessChoice {
        let key = match self {
            Self::Random => return BusinessChoice::Random(getrandom::u64().unwrap_or_default()),
            Self::HashOfUid => uid.map(key),
            Self::LeastBusy | Self::HashOfAddress | Self::HashOfQuery(_) => key_of_client,
        };
        key.map_or(BusinessChoice::LeastBusy, BusinessChoice::Owner)
    }
}

fn key_of_address(address: IpAddr) -> Option<NonZeroU64> {
    match address.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => None,
        IpAddr::V4(ip) => Some(key(&ip.octets())),
        IpAddr::V6(ip) => ip.octets().first_chunk::<8>().map(|network| key(network)),
    }
}

/// FNV-1a of 64 bits, and a last mixing for it spreads the end of a key badly. A few lines that stay what they
/// are: gateways of different releases have to agree.
pub(super) fn key(bytes: &[u8]) -> NonZeroU64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    NonZeroU64::new(mixed(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)))
        .unwrap_or(NonZeroU64::MIN)
}

/// Returns how well a business suits a key.
pub(super) fn score(key: NonZeroU64, place: NonZeroU64) -> u64 {
    mixed(key.get() ^ place.get().rotate_left(32))
}

/// The last step of `MurmurHash3`: each bit of the number changes half of those of the result.
fn mixed(mut number: u64) -> u64 {
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        number = (number ^ (number >> 33)).wrapping_mul(factor);
    }
    number ^ (number >> 33)
}

/// Returns the name in what a business calls itself, `NAME:ID`.
pub(super) fn name(worker_key: &str) -> &str {
    worker_key.split_once(':').map_or(worker_key, |(name, _)| name)
}

/// Returns where a business is as hashes see it: its machine, name and number. What one of Lineman's says beyond that
/// names its process, and that of the next process in its slot is another one.
pub(super) fn place(machine: IpAddr, worker_key: &str) -> NonZeroU64 {
    let slot = worker_key
        .match_indices(':')
        .nth(1)
        .map_or(worker_key, |(end, _)| worker_key.get(..end).unwrap_or(worker_key));
    key(format!("{}:{slot}", machine.to_canonical()).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn places(count: usize) -> Vec<NonZeroU64> {
        (0..count).map(|id| place([10, 0, 0, 1].into(), &format!("business:{id}"))).collect()
    }

    fn owner(key_of_client: NonZeroU64, places: &[NonZeroU64]) -> NonZeroU64 {
        *places.iter().max_by_key(|place| score(key_of_client, **place)).unwrap()
    }

    #[test]
    fn keys_are_spread_and_only_those_of_one_that_leaves_move() {
        let all = places(5);
        let keys: Vec<_> =
            (0..10_000).map(|number| key(format!("room-{number}").as_bytes())).collect();
        let mut each = BTreeMap::<_, usize>::new();
        for &key in &keys {
            *each.entry(owner(key, &all)).or_default() += 1;
        }
        assert!(
            each.len() == 5 && each.values().all(|count| (1800..2200).contains(count)),
            "{each:?}"
        );
        let (gone, left) = all.split_last().unwrap();
        for &key in &keys {
            let before = owner(key, &all);
            assert!(before == *gone || owner(key, left) == before);
        }
    }

    /// Gateways of other releases have to agree.
    #[test]
    fn hashes_stay_what_they_are() {
        let place = place([10, 0, 0, 1].into(), "business:3:4711-00c0ffee");
        assert_eq!(place, super::place([10, 0, 0, 1].into(), "business:3"));
        let score = score(key(b"room-1"), place);
        assert_eq!(key(b"room-1").get(), 7_308_134_817_306_315_839);
        assert_eq!((place.get(), score), (5_065_216_835_776_267_119, 7_309_116_326_544_145_127));
    }

    #[test]
    fn a_key_is_the_network_of_an_address_or_the_value_in_the_query() {
        let address = |text: &str| Router::HashOfAddress.key(text.parse().unwrap(), &Bytes::new());
        assert_eq!(address("10.0.0.1"), address("::ffff:10.0.0.1"));
        assert_ne!(address("10.0.0.1"), address("10.0.0.2"));
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("0.0.0.0"), None);

        let query = |handshake: &'static str| {
            let router = Router::HashOfQuery("room".to_owned());
            router.key([10, 0, 0, 1].into(), &Bytes::from_static(handshake.as_bytes()))
        };
        assert_eq!(query(r#"a:1:{s:3:"get";a:1:{s:4:"room";s:1:"7";}}"#), Some(key(b"7")));
        for none in [
            r#"a:1:{s:3:"get";a:1:{s:4:"room";s:0:"";}}"#,
            r#"a:1:{s:3:"get";a:1:{s:4:"room";a:0:{}}}"#,
            r#"a:1:{s:3:"get";a:0:{}}"#,
            "a:0:{}",
            "",
        ] {
            assert_eq!(query(none), None, "{none}");
        }
    }

    #[test]
    fn the_name_of_a_business_ends_before_its_number() {
        for (worker_key, expected) in
            [("chat:0", "chat"), ("chat:0:12-34", "chat"), ("chat", "chat")]
        {
            assert_eq!(name(worker_key), expected);
        }
    }
}
