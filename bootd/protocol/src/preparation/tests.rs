//! Whole lists of outputs, one story for each test.

use super::*;
use crate::verify::master::Gate;
use crate::verify::message::Stage as Doing;

const NOW: Duration = Duration::from_secs(1_000_000);
const RESET_AFTER: Duration = Duration::from_secs(30);

fn wish(id: i64, targets: &[(&str, bool)]) -> Wish {
    let target = |(node, present): &(&str, bool)| Target {
        node: (*node).to_owned(),
        present: *present,
        reset_after: None,
    };
    Wish {
        id,
        decision: None,
        targets: targets.iter().map(target).collect(),
    }
}

fn decided(wish: &Wish, decision: Decision) -> [Wish; 1] {
    [Wish {
        decision: Some(decision),
        ..wish.clone()
    }]
}

/// What is to be done, in short: `a ready`, `reset b`, `decide 1`.
fn told(machine: &mut Preparations) -> Vec<String> {
    std::iter::from_fn(|| machine.next_command())
        .map(|command| match command {
            Command::Remember(progress) => format!("{} {}", progress.node, progress.stage),
            Command::Reset { node, .. } => format!("reset {node}"),
            Command::Decide(id) => format!("decide {id}"),
        })
        .collect()
}

/// A preparation of `a` and `b`, which run in their boot 1.
fn begun() -> Preparations {
    let mut machine = Preparations::default();
    machine.handle_wishes(&[wish(1, &[("a", true), ("b", true)])], NOW);
    assert_eq!(told(&mut machine), ["a ordered", "b ordered"]);
    machine
}

fn asks(machine: &mut Preparations, node: &str, boot: u64, need: &Need) -> Vec<String> {
    machine.handle_asked(node, boot, 2, need, NOW);
    told(machine)
}

fn runs(machine: &mut Preparations, node: &str, boot: u64) -> Vec<String> {
    machine.handle_reported(node, boot, 2, (Doing::Running, ""), NOW);
    told(machine)
}

#[test]
fn all_are_prepared_wait_and_go_together() {
    let mut it = begun();
    assert_eq!(
        it.order("a", 1, Doing::Running).as_deref(),
        Some("preparation 1")
    );
    assert_eq!(it.order("c", 1, Doing::Running), None);
    assert_eq!(runs(&mut it, "a", 1), [""; 0]);
    assert_eq!(asks(&mut it, "a", 2, &Need::Installation), ["a installing"]);
    assert_eq!(it.order("a", 2, Doing::Fetching), None);
    assert_eq!(asks(&mut it, "a", 2, &Need::Nothing), ["a ready"]);
    let shut = Gate::Shut("preparation 1: 1 of 2 are ready".into());
    assert_eq!(it.gate("a", 2, 2), shut);
    // Held, it asks again and again; and its power may go.
    assert_eq!(asks(&mut it, "a", 2, &Need::Nothing), [""; 0]);
    assert_eq!(asks(&mut it, "a", 3, &Need::Nothing), [""; 0]);

    let last = asks(&mut it, "b", 2, &Need::Nothing);
    assert_eq!(
        last,
        ["b ready", "decide 1", "a restarting", "b restarting"]
    );
    let restart = Gate::Restart("preparation 1: all are ready".into());
    assert_eq!(it.gate("a", 3, 2), restart);
    // A second question of the same boot is told the same.
    assert_eq!(asks(&mut it, "a", 3, &Need::Nothing), [""; 0]);
    assert_eq!(it.gate("a", 3, 2), restart);

    assert_eq!(it.gate("a", 4, 2), Gate::Open);
    assert_eq!(asks(&mut it, "a", 4, &Need::Nothing), ["a done"]);
    assert_eq!(it.gate("a", 4, 2), Gate::Open);
    assert_eq!(it.order("a", 4, Doing::Running), None);
    assert_eq!(runs(&mut it, "b", 3), ["b done"]);
    assert_eq!(it.poll_timeout(NOW), None);
}

#[test]
fn who_runs_because_no_master_answered_is_ordered_again() {
    let mut it = begun();
    asks(&mut it, "a", 2, &Need::Nothing);
    assert_eq!(runs(&mut it, "a", 2), ["a ordered"]);
    assert!(it.order("a", 2, Doing::Running).is_some());
    asks(&mut it, "a", 3, &Need::Nothing);
    asks(&mut it, "b", 2, &Need::Nothing);
    // It was not told in time that the others go, and runs in the boot it was ready in.
    assert!(it.order("a", 3, Doing::Running).is_some());
    assert_eq!(runs(&mut it, "a", 3), [""; 0]);
    assert_eq!(it.order("a", 4, Doing::Running), None);
    assert_eq!(runs(&mut it, "a", 4), ["a done"]);
}

#[test]
fn a_failure_waits_for_the_operator() {
    let mut it = begun();
    asks(&mut it, "a", 2, &Need::Nothing);
    asks(&mut it, "b", 2, &Need::Installation);
    it.handle_reported("b", 2, 2, (Doing::Failed, "disk full"), NOW);
    assert_eq!(told(&mut it), ["b failed"]);
    assert_eq!(it.order("b", 2, Doing::Failed), None);
    assert_eq!(runs(&mut it, "b", 2), [""; 0]);
    let shut = Gate::Shut("preparation 1: 1 of 2 are ready, 1 failed".into());
    assert_eq!(it.gate("a", 2, 2), shut);
    let wish = wish(1, &[("a", true), ("b", true)]);
    it.handle_wishes(&decided(&wish, Decision::Go), NOW);
    assert_eq!(told(&mut it), ["a restarting"]);
    assert_eq!(it.gate("b", 3, 2), Gate::Open);
    assert_eq!(asks(&mut it, "b", 3, &Need::Nothing), [""; 0]);
    assert_eq!(asks(&mut it, "a", 3, &Need::Nothing), ["a done"]);
}

#[test]
fn who_cannot_have_what_it_should_is_told_so() {
    let mut it = begun();
    let why = Need::Impossible("did not boot here".into());
    assert_eq!(asks(&mut it, "a", 2, &why), ["a failed"]);
    // Another edit makes it possible.
    assert_eq!(asks(&mut it, "a", 3, &Need::Installation), ["a installing"]);
}

#[test]
fn cancel_lets_everybody_run() {
    let mut it = begun();
    asks(&mut it, "a", 2, &Need::Nothing);
    let wish = wish(1, &[("a", true), ("b", true)]);
    it.handle_wishes(&decided(&wish, Decision::Cancel), NOW);
    assert_eq!(told(&mut it), ["a done", "b done"]);
    assert_eq!(it.gate("a", 2, 2), Gate::Open);
    assert_eq!(it.order("b", 1, Doing::Running), None);
    it.handle_wishes(&decided(&wish, Decision::Cancel), NOW);
    assert_eq!(told(&mut it), [""; 0]);
}

#[test]
fn an_absent_node_is_reset_once_and_waited_for() {
    let mut it = Preparations::default();
    let mut wish = wish(1, &[("a", true), ("b", false)]);
    wish.targets[1].reset_after = Some(RESET_AFTER);
    it.handle_wishes(std::slice::from_ref(&wish), NOW);
    assert_eq!(told(&mut it), ["a ordered", "b absent"]);
    assert_eq!(asks(&mut it, "a", 2, &Need::Nothing), ["a ready"]);
    let due = NOW + RESET_AFTER;
    assert_eq!(it.poll_timeout(NOW), Some(due));
    it.handle_timeout(due);
    assert_eq!(told(&mut it), ["b absent", "reset b"]);
    it.handle_reset(1, "b", "exit status 0: on");
    assert_eq!(told(&mut it), ["b absent"]);
    let late = due + RESET_GRACE;
    assert_eq!(it.poll_timeout(due), Some(late));

    // It comes: the others wait for it.
    let mut came = Preparations::restored(remembered(&it));
    came.handle_wishes(&[wish], due);
    assert_eq!(told(&mut came), [""; 0]);
    came.handle_asked("b", 1, 2, &Need::Installation, due);
    assert_eq!(told(&mut came), ["b installing"]);
    came.handle_timeout(late);
    assert_eq!(told(&mut came), [""; 0]);

    // It does not come: the others go without it.
    it.handle_timeout(late);
    assert_eq!(told(&mut it), ["decide 1", "b absent", "a restarting"]);
    assert_eq!(asks(&mut it, "b", 1, &Need::Installation), [""; 0]);
    assert_eq!(it.gate("b", 1, 2), Gate::Open);
    assert_eq!(asks(&mut it, "b", 1, &Need::Nothing), ["b done"]);
}

#[test]
fn who_is_missing_on_the_way_is_not_waited_for() {
    let mut it = begun();
    asks(&mut it, "a", 2, &Need::Nothing);
    it.handle_absent("b", NOW);
    let expected = ["b absent", "decide 1", "b absent", "a restarting"];
    assert_eq!(told(&mut it), expected);
    it.handle_absent("a", NOW);
    assert_eq!(told(&mut it), ["a absent"]);
    // It had only been out of reach.
    assert!(matches!(it.gate("a", 2, 2), Gate::Restart(_)));
    assert_eq!(runs(&mut it, "a", 2), ["a restarting"]);
    assert_eq!(asks(&mut it, "a", 3, &Need::Nothing), ["a done"]);
}

#[test]
fn an_older_init_waits_and_then_runs_without_a_restart() {
    let mut it = begun();
    asks(&mut it, "b", 2, &Need::Nothing);
    it.handle_asked("a", 2, 1, &Need::Nothing, NOW);
    let expected = ["a ready", "decide 1", "a restarting", "b restarting"];
    assert_eq!(told(&mut it), expected);
    assert_eq!(it.gate("a", 2, 1), Gate::Open);
    it.handle_asked("a", 2, 1, &Need::Nothing, NOW);
    assert_eq!(told(&mut it), ["a done"]);

    let mut it = begun();
    it.handle_reported("a", 1, 1, (Doing::Running, ""), NOW);
    assert_eq!(told(&mut it), ["a failed"]);
}

#[test]
fn what_is_remembered_outlives_the_master() {
    let mut it = begun();
    asks(&mut it, "a", 2, &Need::Nothing);
    let wish = wish(1, &[("a", true), ("b", true)]);
    let mut again = Preparations::restored(remembered(&it));
    again.handle_wishes(std::slice::from_ref(&wish), NOW);
    assert_eq!(told(&mut again), [""; 0]);
    assert!(matches!(again.gate("a", 2, 2), Gate::Shut(_)));
    asks(&mut again, "b", 2, &Need::Nothing);
    // The decision did not come into the catalog in time.
    let mut third = Preparations::restored(remembered(&again));
    third.handle_wishes(std::slice::from_ref(&wish), NOW);
    assert_eq!(told(&mut third), ["decide 1"]);
    assert!(matches!(third.gate("a", 2, 2), Gate::Restart(_)));

    // All that was remembered is lost: what was decided is not begun anew.
    let mut lost = Preparations::default();
    lost.handle_wishes(&decided(&wish, Decision::Go), NOW);
    assert_eq!(told(&mut lost), [""; 0]);
    assert_eq!(lost.order("a", 3, Doing::Running), None);
}

#[test]
fn the_last_preparation_has_the_node_and_a_row_that_is_gone_has_none() {
    let mut it = begun();
    let (old, new) = (
        wish(1, &[("a", true), ("b", true)]),
        wish(2, &[("b", true)]),
    );
    it.handle_wishes(&[old, new.clone()], NOW);
    assert_eq!(told(&mut it), ["b failed", "b ordered"]);
    let order = it.order("b", 1, Doing::Running);
    assert_eq!(order.as_deref(), Some("preparation 2"));
    it.handle_wishes(&[new], NOW);
    assert_eq!(it.order("a", 1, Doing::Running), None);
    assert_eq!(it.gate("a", 2, 2), Gate::Open);
}

fn remembered(machine: &Preparations) -> Vec<Progress> {
    machine.progress()
}
