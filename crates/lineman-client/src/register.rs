//! Asks the register which gateways there are: one connection, one line each way.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use lineman_wire::link::Secret;
use lineman_wire::link::register::Line;

use crate::Error;

/// A list of ten thousand gateways is a quarter of this.
const MAX_LINE: u64 = 1024 * 1024;

/// Returns all gateways that the register knows.
pub(crate) fn gateways(
    address: &str,
    secret_key: &Secret,
    limit: Duration,
) -> Result<Vec<SocketAddr>, Error> {
    let failed = |source| Error::Register { address: address.to_owned(), source };
    let line = ask(address, secret_key, limit).map_err(failed)?;
    match Line::parse(&line) {
        Ok(Line::BroadcastAddresses { addresses }) => {
            Ok(addresses.iter().filter_map(|address| address.parse().ok()).collect())
        }
        Ok(_) | Err(_) => Err(Error::NoList { address: address.to_owned() }),
    }
}

fn ask(address: &str, secret_key: &Secret, limit: Duration) -> io::Result<Vec<u8>> {
    let mut stream = connect(address, limit)?;
    let question = Line::WorkerConnect { secret_key: secret_key.clone() };
    stream.write_all(format!("{}\n", question.encode()).as_bytes())?;
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_LINE)).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// Connects to the first of an address's meanings that answers.
pub(crate) fn connect(address: impl ToSocketAddrs, limit: Duration) -> io::Result<TcpStream> {
    let mut outcome = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    for address in address.to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, limit);
        if outcome.is_ok() {
            break;
        }
    }
    let stream = outcome?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}
