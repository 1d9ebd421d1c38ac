//! The processes of a program and its command line: starts, reloads, stops, crashes, what is printed and logged.

mod cli;
mod commands;
mod names;
mod embedding;
mod processes;
mod handlers;
mod reload;
mod reloads;
mod stop;
mod crash;
mod lending;
mod watchdog;
mod admin;
mod containers;
mod systemd;
mod upgrade;
mod contrib;
mod live;
mod listing;
mod logs;
