//! A protocol of one's own: lines of text, answered in capitals. Try it with `nc 127.0.0.1 1234`.

use lineman::prelude::*;

struct Lines;

impl Protocol for Lines {
    type Inbound = String;
    type Outbound = String;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<String>> {
        let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line = buffer.split_to(end + 1);
        Ok(Some(std::str::from_utf8(&line)?.trim_end().to_owned()))
    }

    fn encode(&mut self, line: String, buffer: &mut BytesMut) -> Result {
        buffer.extend_from_slice(line.as_bytes());
        buffer.extend_from_slice(b"\n");
        Ok(())
    }

    // A peer that sends more without ending the line is closed.
    fn max_message_size(&self) -> usize {
        4096
    }
}

fn main() -> Result {
    Worker::tcp("0.0.0.0:1234", || Lines)
        .on_message(async |connection, line| connection.send(line.to_uppercase()))
        .run()
}
