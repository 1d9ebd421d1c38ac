//! Businesses that handle nothing, and what becomes of their clients.

use lineman_wire::link::Command;

use super::*;

impl World {
    /// Lets time pass, with a sweep each second.
    fn pass(&mut self, seconds: u64, each: impl Fn(&mut Self)) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            each(self);
            self.submit(Input::Sweep);
        }
    }
}

/// Counts the clients that a business was told of since the last look.
fn came(business: &Rc<Fake>) -> usize {
    let heard = business.heard();
    heard.iter().filter(|(command, _)| *command == Command::OnConnect).count()
}

#[test]
fn a_business_with_old_events_gets_no_new_clients_however_few_it_has() {
    let mut world = World::new();
    let (hangs, works) = (world.business("a:0"), world.business("a:1"));
    let _one = world.client();
    assert_eq!((came(&hangs), came(&works)), (1, 0));
    world.now += Duration::from_millis(200);
    for handled in 1..=20 {
        let _client = world.client();
        world.tell(&works, Control::Handled(2 * handled));
    }
    assert_eq!((came(&hangs), came(&works)), (0, 20));
}

#[test]
fn a_stalled_business_is_back_when_it_has_done_what_it_had() {
    let mut world = World::new();
    let (hangs, works) = (world.business("a:0"), world.business("a:1"));
    let one = world.client();
    world.pass(4, |_| {});
    assert_eq!(world.gauge("stalled"), 0);
    world.pass(1, |_| {});
    assert_eq!(world.gauge("stalled"), 1);
    world.tell(&hangs, Control::Handled(1));
    assert_eq!(world.gauge("stalled"), 1, "it has an event from before");
    let _two = world.client();
    assert_eq!((came(&hangs), came(&works)), (1, 1));
    // Its loop goes on, so its clients stay, for ever.
    world.tell(&works, Control::Handled(2));
    world.pass(100, |world| world.tell(&hangs, Control::Alive(1)));
    assert!(hangs.close_reason().is_none());
    world.tell(&hangs, Control::Handled(2));
    assert_eq!((world.gauge("stalled"), one.paused.get()), (0, false));
    world.tell(&works, Control::Handled(2));
    let (_three, _four) = (world.client(), world.client());
    assert_eq!((came(&hangs), came(&works)), (1, 1));
}

/// A gateway that hangs keeps a business from confirming anything to the others.
#[test]
fn a_business_that_works_is_not_stalled_though_it_can_confirm_nothing() {
    let mut world = World::new();
    let (works, idle) = (world.business("a:0"), world.business("a:1"));
    let one = world.client();
    drop((works.heard(), idle.heard()));
    for second in 1..=20 {
        world.say(&one, "hello");
        world.pass(1, |world| world.tell(&works, Control::Alive(2 + second)));
        assert_eq!(world.gauge("stalled"), 0);
    }
    let (_two, _three) = (world.client(), world.client());
    assert_eq!((came(&works), came(&idle)), (1, 1), "it is as good as another");
    world.lose(&works);
    assert_eq!(world.gauge("lost_events"), 24, "but nothing is known to have left");
}

#[test]
fn a_business_whose_handlers_wait_stays_and_others_are_preferred() {
    let mut world = World::new();
    let (waits, works) = (world.business("a:0"), world.business("a:1"));
    let _one = world.client();
    drop(waits.heard());
    world.pass(100, |world| world.tell(&waits, Control::Alive(0)));
    assert_eq!(world.gauge("stalled"), 0);
    for handled in 1..=5 {
        let _client = world.client();
        world.tell(&works, Control::Handled(2 * handled));
    }
    assert_eq!((came(&waits), came(&works)), (0, 5));
    // The other one is silent: the one whose handlers wait is the better one.
    let _two = world.client();
    world.pass(6, |world| world.tell(&waits, Control::Alive(0)));
    assert_eq!((world.gauge("stalled"), came(&works)), (1, 1));
    let _three = world.client();
    assert_eq!((came(&waits), came(&works)), (1, 0));
    world.tell(&works, Control::Alive(10));
    assert_eq!(world.gauge("stalled"), 0, "a sign of life is enough");
}

/// What acknowledges its packets may be a kernel, or a proxy whose machine behind it is gone.
#[test]
fn an_idle_business_that_does_not_answer_gets_no_client_and_loses_its_own() {
    let mut world = World::new();
    let (hangs, works) = (world.link("a:0", Some(3)), world.link("a:1", Some(3)));
    let (one, _two) = (world.client(), world.client());
    for business in [&hangs, &works] {
        world.tell(business, Control::Handled(2));
    }
    world.pass(100, |_| {});
    assert_eq!(world.gauge("stalled"), 0, "both answer");
    drop((hangs.heard(), works.heard()));

    hangs.hangs.set(true);
    world.pass(2, |_| {});
    let _three = world.client();
    assert_eq!((came(&hangs), came(&works)), (0, 1), "it owes an answer");
    world.tell(&works, Control::Handled(4));
    world.pass(3, |_| {});
    assert_eq!(world.gauge("stalled"), 0);
    world.pass(1, |_| {});
    assert_eq!(world.gauge("stalled"), 1);
    world.pass(24, |_| {});
    assert!(hangs.close_reason().is_none());
    world.pass(1, |_| {});
    assert!(hangs.close_reason().is_some());
    assert!(works.heard().contains(&(Command::Adopt, 1)) && !one.paused.get());
    assert_eq!((world.gauge("lost_events"), world.gauge("abandoned_links")), (0, 1));
}

#[test]
fn a_gateway_whose_only_business_hangs_serves_no_client() {
    let mut world = World::new();
    let only = world.link("a:0", Some(3));
    only.hangs.set(true);
    world.pass(6, |_| {});
    assert!(world.core.unserved_since.is_none());
    world.pass(1, |_| {});
    assert!(world.core.unserved_since.is_some());
    only.hangs.set(false);
    world.pass(2, |_| {});
    assert!(world.core.unserved_since.is_none());
}

#[test]
fn what_does_not_understand_the_question_is_not_asked() {
    let mut world = World::new();
    for (key, lineman) in [("a:0", Some(2)), ("a:1", Some(1)), ("php:0", None)] {
        world.link(key, lineman).hangs.set(true);
    }
    world.pass(100, |_| {});
    assert_eq!((world.gauge("stalled"), world.gauge("abandoned_links")), (0, 0));
}

/// It says nothing while its handlers wait.
#[test]
fn a_business_of_version_1_keeps_its_clients() {
    let mut world = World::new();
    let (first, second) = (world.link("a:0", Some(1)), world.link("a:1", Some(1)));
    let _one = world.client();
    drop((first.heard(), second.heard()));
    world.pass(100, |_| {});
    assert_eq!((world.gauge("stalled"), world.gauge("abandoned_links")), (1, 0));
    let _two = world.client();
    assert_eq!((first.close_reason(), came(&first), came(&second)), (None, 0, 1));
}

#[test]
fn a_stalled_business_gets_clients_if_there_is_no_other() {
    let mut world = World::new();
    let only = world.business("a:0");
    let one = world.client();
    world.pass(100, |_| {});
    assert_eq!((world.gauge("stalled"), world.gauge("abandoned_links")), (1, 0));
    let two = world.client();
    assert!(!one.paused.get() && !two.paused.get());
    assert_eq!(came(&only), 2);
}

#[test]
fn the_clients_of_a_business_that_is_silent_move_and_its_events_are_counted() {
    let mut world = World::new();
    let (hangs, works) = (world.business("a:0"), world.business("a:1"));
    let (one, _two) = (world.client(), world.client());
    world.tell(&hangs, Control::Handled(2));
    world.say(&one, "begins, perhaps");
    world.say(&one, "waits");
    drop((hangs.heard(), works.heard()));
    world.tell(&works, Control::Handled(2));
    world.pass(29, |_| {});
    assert!(hangs.close_reason().is_none());
    world.pass(1, |_| {});
    assert!(hangs.close_reason().is_some());
    assert_eq!(works.heard(), [(Command::Adopt, 1)]);
    assert_eq!((world.gauge("lost_events"), world.gauge("abandoned_links")), (2, 1));
    world.say(&one, "goes on");
    assert_eq!(works.heard(), [(Command::OnMessage, 1)]);
    world.tell(&works, Control::Handled(3));
    // It comes back.
    world.lose(&hangs);
    let again = world.business("a:0");
    let _three = world.client();
    assert_eq!(came(&again), 1);
}

#[test]
fn silence_without_events_or_while_we_slept_is_no_fault() {
    let mut world = World::new();
    let (first, second) = (world.business("a:0"), world.business("a:1"));
    let one = world.client();
    world.tell(&first, Control::Handled(2));
    world.pass(100, |_| {});
    world.say(&one, "hello");
    world.now += Duration::from_secs(100);
    world.submit(Input::Sweep);
    world.pass(4, |_| {});
    assert_eq!(world.gauge("stalled"), 0);
    assert!(first.close_reason().is_none() && second.close_reason().is_none());
}

#[test]
fn a_limit_of_zero_means_never() {
    let mut world = World::new();
    world.core.policy.stall_limits =
        StallLimits { stalled: Duration::ZERO, abandoned: Duration::ZERO };
    let (hangs, _works) = (world.business("a:0"), world.business("a:1"));
    let _one = world.client();
    world.pass(100, |_| {});
    assert_eq!((world.gauge("stalled"), hangs.close_reason()), (0, None));
}

#[test]
fn a_php_business_whose_link_does_not_move_is_stalled_and_keeps_its_clients() {
    let mut world = World::new();
    let (hangs, works) = (world.link("php:0", None), world.link("php:1", None));
    let one = world.client();
    assert_eq!((came(&hangs), came(&works)), (1, 0));
    hangs.queued.set(28 + 4);
    world.say(&one, "stay");
    world.pass(6, |_| {});
    assert_eq!(world.gauge("stalled"), 1);
    for _ in 0..4 {
        let _client = world.client();
    }
    assert_eq!((came(&hangs), came(&works)), (0, 4));
    world.pass(100, |_| {});
    assert!(hangs.close_reason().is_none());
    hangs.queued.set(0);
    world.pass(1, |_| {});
    assert_eq!(world.gauge("stalled"), 0);
}
