//! The live view on its terminal: enters it, feeds looks, keys and signals to the picture, and gives
//! the terminal back on every way out, a panic included.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crossterm::terminal::{Clear, ClearType, EnterAlternateScreen};
use crossterm::{event, execute};
use ratatui::layout::Rect;
use ratatui::{DefaultTerminal, TerminalOptions, Viewport};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::keys::{Controls, Wish};
use super::look;
use super::sample::Sample;
use super::view::Scene;
use crate::command::{Failure, Outcome};
use crate::control::ExitCode;
use crate::control::folder::RuntimeFolder;
use crate::terminal::{screen, units};

/// Events that wait; a source that has more of them waits.
const WAITING: usize = 16;

/// What the view is fed.
enum ViewEvent {
    /// A key was pressed, or the terminal has another size.
    Input(event::Event),
    /// The keyboard is gone.
    Unreadable(io::Error),
    /// The master was asked.
    Look(Box<Result<Sample, Failure>>),
    /// A signal wants this process to end.
    Signal,
}

/// Shows the view until a key or a signal ends it.
pub(super) fn play(folder: &RuntimeFolder, interval: Duration) -> Outcome {
    let first = look(folder)?;
    let (events, receiver) = sync_channel(WAITING);
    // The threads end with the process.
    watch_signals(events.clone()).map_err(|error| failed("take signals", &error))?;
    let mut terminal = Terminal::enter().map_err(|error| failed("use the terminal", &error))?;
    watch_keys(events.clone());
    watch_master(folder.clone(), interval, events);
    show(&mut terminal, first, &receiver)
}

fn show(terminal: &mut Terminal, first: Sample, events: &Receiver<ViewEvent>) -> Outcome {
    let mut controls = Controls::default();
    let (mut before, mut last) = (None, first);
    let mut silence: Option<String> = None;
    let mut picture = (false, false);
    loop {
        // Another picture is drawn as a whole, not where it differs from the one before.
        let wanted = (silence.is_some(), controls.help);
        if std::mem::replace(&mut picture, wanted) != wanted {
            terminal.clear().map_err(|error| failed("draw on the terminal", &error))?;
        }
        let scene = Scene {
            before: before.as_ref(),
            last: &last,
            silence: silence.as_deref(),
            controls: &controls,
        };
        let scrollable =
            terminal.draw(&scene).map_err(|error| failed("draw on the terminal", &error))?;
        controls.scroll = controls.scroll.min(scrollable);
        match events.recv() {
            Ok(ViewEvent::Input(input)) if controls.take(&input) == Wish::Quit => break,
            Ok(ViewEvent::Input(_)) => {}
            Ok(ViewEvent::Look(look)) => match *look {
                Ok(sample) => {
                    silence = None;
                    before = Some(std::mem::replace(&mut last, sample));
                }
                Err(failure) => silence = Some(waiting(&failure, last.taken)),
            },
            Ok(ViewEvent::Unreadable(error)) => return Err(failed("read keys", &error)),
            Ok(ViewEvent::Signal) | Err(_) => break,
        }
    }
    Ok(ExitCode::Ok)
}

fn waiting(failure: &Failure, since: Instant) -> String {
    let reason = match failure.code {
        ExitCode::NotRunning => "not running",
        _ => failure.text.as_str(),
    };
    format!("{reason}; as it was {} ago, waiting for its return", units::duration(since.elapsed()))
}

fn failed(action: &str, error: &io::Error) -> Failure {
    Failure::new(ExitCode::Failed, format!("cannot {action}: {error}"))
}

/// The terminal, taken over as long as this lives.
struct Terminal(DefaultTerminal);

impl Terminal {
    fn enter() -> io::Result<Self> {
        // A serial line tells no size: nothing would be drawn on it.
        let told = crossterm::terminal::size().is_ok_and(|(columns, rows)| columns > 0 && rows > 0);
        let viewport = match screen::stdout() {
            Some(size) if !told => {
                let fit = |length| u16::try_from(length).unwrap_or(u16::MAX);
                Viewport::Fixed(Rect::new(0, 0, fit(size.columns), fit(size.rows)))
            }
            _ => Viewport::Fullscreen,
        };
        // Gives the terminal back on a panic as well, before the panic is printed.
        let taken = ratatui::try_init_with_options(TerminalOptions { viewport });
        let entered = taken.and_then(|terminal| {
            execute!(io::stdout(), EnterAlternateScreen)?;
            Ok(Self(terminal))
        });
        if entered.is_err() {
            restore();
        }
        entered
    }

    fn clear(&mut self) -> io::Result<()> {
        // The library's own way asks the terminal where its cursor is, and not every one answers.
        execute!(io::stdout(), Clear(ClearType::All))?;
        // Forgets what was drawn.
        self.0.swap_buffers();
        Ok(())
    }

    fn draw(&mut self, scene: &Scene<'_>) -> io::Result<usize> {
        let mut scrollable = 0;
        self.0.draw(|frame| scrollable = scene.draw(frame))?;
        Ok(scrollable)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    // A terminal that is gone wants nothing back.
    if ratatui::try_restore().is_err() {}
}

fn watch_keys(events: SyncSender<ViewEvent>) {
    thread::spawn(move || {
        loop {
            let (event, is_last) = match event::read() {
                Ok(input) => (ViewEvent::Input(input), false),
                Err(error) => (ViewEvent::Unreadable(error), true),
            };
            // A receiver that is gone has ended.
            if events.send(event).is_err() || is_last {
                return;
            }
        }
    });
}

fn watch_master(folder: RuntimeFolder, interval: Duration, events: SyncSender<ViewEvent>) {
    thread::spawn(move || {
        loop {
            thread::sleep(interval);
            if events.send(ViewEvent::Look(Box::new(look(&folder)))).is_err() {
                return;
            }
        }
    });
}

fn watch_signals(events: SyncSender<ViewEvent>) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt, mut hangup) = {
        let _inside = runtime.enter();
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        (signal(terminate)?, signal(interrupt)?, signal(SignalKind::hangup())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        // A receiver that is gone has ended.
        drop(events.send(ViewEvent::Signal));
    });
    Ok(())
}
