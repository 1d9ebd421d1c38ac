//! The floor: one poll set, one loop, the codec of `lineman-wire`, and nothing else.
//!
//! It writes once for each readable connection, as our table does; it has no bounds, no deadlines,
//! no processes and no handlers. What we lose against it is the price of those.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::Context;
use bytes::{Buf, BytesMut};
use lineman_wire::websocket::{
    Decoder, Event, HandshakeLimits, Limits, Message, RequestParser, Role, accept, encode_message,
};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::Kind;
use crate::peer::room_of;

const LISTENER: Token = Token(usize::MAX);

struct Connection {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    /// `None` until the handshake is done.
    decoder: Option<Decoder>,
    room: Option<usize>,
}

/// Serves until it is killed.
pub(crate) fn run(kind: Kind, listen: SocketAddr) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(listen).context("cannot listen")?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server =
        Server { kind, connections: Slab::new(), rooms: Vec::new(), touched: BTreeSet::new() };
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; 64 * 1024];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                server.accept_all(&listener, &poll)?;
            } else if server.serve(event.token().0, &mut scratch).is_err() {
                server.drop_connection(event.token().0);
            }
        }
        server.flush();
    }
}

struct Server {
    kind: Kind,
    connections: Slab<Connection>,
    rooms: Vec<Vec<usize>>,
    touched: BTreeSet<usize>,
}

impl Server {
    fn accept_all(&mut self, listener: &TcpListener, poll: &Poll) -> anyhow::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let place = self.connections.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(place.key()), interest)?;
            place.insert(Connection {
                stream,
                input: BytesMut::new(),
                output: BytesMut::new(),
                decoder: None,
                room: None,
            });
        }
    }

    /// Reads once and handles what came.
    fn serve(&mut self, key: usize, scratch: &mut [u8]) -> anyhow::Result<()> {
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
            match connection.stream.read(scratch) {
                Ok(0) => anyhow::bail!("ended"),
                Ok(count) => {
                    connection.input.extend_from_slice(&scratch[..count]);
                    self.handle(key)?;
                    if count < scratch.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn handle(&mut self, key: usize) -> anyhow::Result<()> {
        self.touched.insert(key);
        if self.connections[key].decoder.is_none() && !shake_hands(&mut self.connections[key])? {
            return Ok(());
        }
        loop {
            let connection = &mut self.connections[key];
            let Some(decoder) = &mut connection.decoder else { return Ok(()) };
            match decoder.decode(&mut connection.input, &Limits::default())? {
                Some(Event::Message(message)) => self.on_message(key, &message),
                Some(Event::Close(_)) => anyhow::bail!("closed"),
                Some(Event::Ping(_) | Event::Pong(_)) => {}
                None => return Ok(()),
            }
        }
    }

    fn on_message(&mut self, key: usize, message: &Message) {
        let connection = &mut self.connections[key];
        if self.kind == Kind::Echo {
            return encode_message(message, None, &mut connection.output);
        }
        let Some(room) = connection.room else {
            let room = room_of(message.as_bytes());
            connection.room = Some(room);
            self.rooms.resize(self.rooms.len().max(room + 1), Vec::new());
            self.rooms[room].push(key);
            return encode_message(message, None, &mut connection.output);
        };
        let frame = message.to_frame();
        for &member in &self.rooms[room] {
            self.connections[member].output.extend_from_slice(&frame);
            self.touched.insert(member);
        }
    }

    fn flush(&mut self) {
        while let Some(key) = self.touched.pop_first() {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if connection.output.is_empty() {
                continue;
            }
            match connection.stream.write(&connection.output) {
                Ok(count) => connection.output.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.drop_connection(key),
            }
        }
    }

    fn drop_connection(&mut self, key: usize) {
        if let Some(connection) = self.connections.try_remove(key)
            && let Some(room) = connection.room
        {
            self.rooms[room].retain(|&member| member != key);
        }
    }
}

fn shake_hands(connection: &mut Connection) -> anyhow::Result<bool> {
    let parsed = RequestParser::new().parse(&connection.input, &HandshakeLimits::default())?;
    let Some(request) = parsed else { return Ok(false) };
    connection.output.extend_from_slice(&accept(&request, None, &[])?);
    connection.input.advance(request.head().len());
    connection.decoder = Some(Decoder::new(Role::Server));
    Ok(true)
}
