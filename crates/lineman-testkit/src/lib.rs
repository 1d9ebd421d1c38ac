//! Start a Lineman program in a test, connect to it, assert; for Lineman's own tests and for users.
//!
//! Four things: a [`Port`] nobody else gets, a [`Program`] with a runtime folder of its own, the
//! [`Status`] it reports, and a [`Client`] made of tokio-tungstenite, so that the two ends of a test
//! share no code. Everything that waits has a limit and says what it waited for. A program's output
//! is printed when it is dropped: the test harness shows it where a test fails.
//!
//! A program that has a binary is started from it. One that is only described in the test is started
//! by [`Program::of`], from the test's own binary.
//!
//! ```no_run
//! use lineman_testkit::{Client, Port, Program};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> anyhow::Result<()> {
//! let port = Port::reserve()?;
//! let chat = Program::new("target/debug/chat")?.env("CHAT_LISTEN", port.address());
//! chat.start().await?;
//!
//! let mut client = Client::connect(&port.ws()).await?;
//! client.send_json(&json!({ "type": "login", "client_name": "Ada", "room_id": 1 })).await?;
//! let login = client.next_json(|message| message["type"] == "login").await?;
//! assert_eq!(login["client_name"], "Ada");
//!
//! let old = chat.kill("chat-gateway/0").await?;
//! chat.replaced("chat-gateway/0", &old).await?;
//! # Ok(())
//! # }
//! ```

mod port;
mod program;
mod inside;
mod output;
mod process;
mod status;
mod client;
mod limit;

pub use client::{Client, Ended};
pub use limit::{COMMAND_LIMIT, LIMIT, within};
pub use output::Output;
pub use port::Port;
pub use process::Process;
pub use program::{Foreground, Program};
pub use status::{Listen, Service, Slot, Status};
