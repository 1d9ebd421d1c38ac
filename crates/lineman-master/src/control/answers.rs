//! Answers on their way from the master's loop to one caller. The loop never waits: of each process
//! that goes on step by step a slow caller gets the latest step, and the last answer always.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::ExitCode;
use super::request::Answer;

/// How many answers wait for one caller: more than there are processes, and less than a megabyte.
/// What comes at this bound is dropped, but for the last answer.
const WAITING: usize = 4096;

/// Where one caller's answers go.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    queue: Arc<Queue>,
    /// Says that something waits; the receiver looks at all of it.
    news: mpsc::Sender<()>,
}

/// Where one caller's answers come from.
#[derive(Debug)]
pub(crate) struct Receiver {
    queue: Arc<Queue>,
    news: mpsc::Receiver<()>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<VecDeque<Answer>>,
    /// Tells a sender that waits for the queue to be empty that it may be.
    taken: Notify,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Answer>> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers {
    /// Returns a channel for answers.
    pub(crate) fn channel() -> (Self, Receiver) {
        let queue = Arc::new(Queue::default());
        let (sender, receiver) = mpsc::channel(1);
        (Self { queue: Arc::clone(&queue), news: sender }, Receiver { queue, news: receiver })
    }

    /// Gives an answer; a step takes the place of the one before it of the same process, if that
    /// still waits.
    pub(crate) fn give(&self, answer: Answer) {
        let mut waiting = self.queue.waiting();
        if let Answer::Progress(step) = &answer {
            waiting.retain(|old| {
                !matches!(old, Answer::Progress(old) if (old.pid, &old.slot) == (step.pid, &step.slot))
            });
        }
        // The last one goes beyond the bound if need be.
        if waiting.len() < WAITING || matches!(answer, Answer::Done { .. }) {
            waiting.push_back(answer);
        } else {
            tracing::debug!("an answer to the command line was dropped");
        }
        drop(waiting);
        self.tell();
    }

    /// Gives an answer when all before it were taken, so that one at most waits. Returns whether
    /// the caller still listens.
    pub(crate) async fn give_patiently(&self, answer: Answer) -> bool {
        loop {
            let taken = self.queue.taken.notified();
            if self.is_gone() {
                return false;
            }
            if self.queue.waiting().is_empty() {
                break;
            }
            taken.await;
        }
        self.give(answer);
        true
    }

    /// Returns whether the caller waits for no answers any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.news.is_closed()
    }

    pub(crate) fn done(&self, code: ExitCode, text: impl Into<String>) {
        self.give(Answer::Done { code, text: text.into() });
    }

    fn tell(&self) {
        // Full: it has been told already. Closed: the caller is gone.
        if self.news.try_send(()).is_err() {}
    }
}

impl Receiver {
    /// Returns the next answer; `None` when there will be none.
    pub(crate) async fn recv(&mut self) -> Option<Answer> {
        loop {
            if let Some(answer) = self.take() {
                return Some(answer);
            }
            if self.news.recv().await.is_none() {
                return self.take();
            }
        }
    }

    /// As [`Receiver::recv`], for a thread of its own.
    pub(crate) fn blocking_recv(&mut self) -> Option<Answer> {
        loop {
            if let Some(answer) = self.take() {
                return Some(answer);
            }
            if self.news.blocking_recv().is_none() {
                return self.take();
            }
        }
    }

    fn take(&self) -> Option<Answer> {
        let answer = self.queue.waiting().pop_front();
        self.queue.taken.notify_one();
        answer
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.news.close();
        self.queue.taken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::control::report::{Progress, Step};

    fn note(text: &str) -> Answer {
        Answer::Note { text: text.to_owned() }
    }

    fn step(slot: usize, step: Step) -> Answer {
        let pid = u32::try_from(slot).unwrap() + 100;
        let slot = format!("echo/{slot}");
        Answer::Progress(Progress { slot, pid, step, left: None, remaining_ms: None })
    }

    fn all(mut receiver: Receiver) -> Vec<Answer> {
        std::iter::from_fn(|| receiver.blocking_recv()).collect()
    }

    #[test]
    fn the_last_step_of_every_process_arrives_before_the_end() {
        let (answers, receiver) = Answers::channel();
        for what in [Step::Draining, Step::Stopping, Step::Ended] {
            for slot in 0..300 {
                answers.give(step(slot, what));
            }
        }
        answers.done(ExitCode::Ok, "stopped");
        drop(answers);
        let mut expected: Vec<Answer> = (0..300).map(|slot| step(slot, Step::Ended)).collect();
        expected.push(Answer::Done { code: ExitCode::Ok, text: "stopped".to_owned() });
        assert_eq!(all(receiver), expected);
    }

    #[test]
    fn the_end_arrives_however_much_waits() {
        let (answers, receiver) = Answers::channel();
        for _ in 0..2 * WAITING {
            answers.give(note("again"));
        }
        answers.done(ExitCode::Failed, "why");
        drop(answers);
        let given = all(receiver);
        assert_eq!(given.len(), WAITING + 1);
        assert!(matches!(given.last(), Some(Answer::Done { code: ExitCode::Failed, .. })));
    }

    #[tokio::test]
    async fn a_patient_answer_waits_until_those_before_it_are_taken() {
        let (answers, mut receiver) = Answers::channel();
        assert_eq!(answers.give_patiently(note("one")).now_or_never(), Some(true));
        let mut next = pin!(answers.give_patiently(note("two")));
        assert_eq!(next.as_mut().now_or_never(), None, "one waits already");
        assert_eq!(receiver.recv().await, Some(note("one")));
        assert_eq!(next.now_or_never(), Some(true));
        drop(receiver);
        assert!(answers.is_gone());
        assert_eq!(answers.give_patiently(note("three")).now_or_never(), Some(false));
    }
}
