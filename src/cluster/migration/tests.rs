//! Two ends and a network that does what it likes: who owns the slots is never in doubt to both, and all comes to an end.

use super::*;
use crate::base::random::Random;

const LIMITS: Limits = Limits { silence_ms: 60_000, pause_below_bytes: Some(0) };

fn at(ms: u64) -> Moment {
    Moment { ms, unix_s: i64::try_from(ms / 1000).unwrap() }
}

fn id(number: u8) -> HexId {
    HexId::parse(&[b'0' + number; 40]).unwrap()
}

fn ranges() -> Vec<(Slot, Slot)> {
    vec![(Slot::new(3), Slot::new(5)), (Slot::new(9), Slot::new(9))]
}

fn export() -> Jobs {
    let mut jobs = Jobs::default();
    jobs.begin_export(at(0), id(1), ranges(), id(2), id(3));
    jobs
}

fn import() -> Jobs {
    let mut jobs = Jobs::default();
    jobs.begin_import(at(0), id(1), ranges(), id(2), id(3));
    jobs
}

fn told(jobs: &mut Jobs, ms: u64, event: Event) -> Vec<Act> {
    jobs.handle(at(ms), &LIMITS, &id(1), event)
}

fn state(jobs: &Jobs) -> State {
    jobs.get(&id(1)).unwrap().state
}

/// A source that has granted at 100.
fn granted() -> Jobs {
    let mut jobs = export();
    for event in [
        Event::Connected,
        Event::Established,
        Event::SnapshotSent,
        Event::Heard(Word::RequestPause),
        Event::Queued { bytes: 0 },
        Event::Quiet,
        Event::Heard(Word::RequestFailover),
    ] {
        let _ = told(&mut jobs, 100, event);
    }
    assert_eq!(state(&jobs), State::FailoverGranted);
    jobs
}

#[test]
fn the_words_and_states_of_a_move_that_goes_well() {
    let mut source = export();
    assert_eq!(told(&mut source, 1, Event::Connected), []);
    let acts = told(&mut source, 2, Event::Established);
    assert_eq!(acts, [Act::Say(Word::Ack), Act::Walk]);
    assert_eq!(told(&mut source, 3, Event::SnapshotSent), [Act::Say(Word::SnapshotEof)]);
    assert_eq!(told(&mut source, 4, Event::Heard(Word::RequestPause)), []);
    assert_eq!(told(&mut source, 5, Event::Queued { bytes: 1 }), []);
    assert_eq!(told(&mut source, 6, Event::Queued { bytes: 0 }), [Act::Hold]);
    assert_eq!(told(&mut source, 6, Event::Queued { bytes: 0 }), [], "once");
    assert!(source.held_slots().count() == 4 && source.get(&id(1)).unwrap().ranges_text() == "3-5 9-9");
    assert_eq!(told(&mut source, 7, Event::Quiet), [Act::Say(Word::Paused)]);
    assert_eq!(told(&mut source, 8, Event::Heard(Word::RequestFailover)), [Act::Say(Word::FailoverGranted)]);
    assert_eq!(told(&mut source, 9, Event::Owned(Owner::Target)), [Act::Release, Act::Close]);
    assert!(state(&source) == State::Success && source.held_slots().is_empty());

    let mut target = import();
    assert_eq!(target.hidden_slots().count(), 4);
    assert_eq!(told(&mut target, 1, Event::Heard(Word::Ack)), []);
    assert_eq!(told(&mut target, 2, Event::Heard(Word::SnapshotEof)), [Act::Say(Word::RequestPause)]);
    assert_eq!(told(&mut target, 3, Event::Heard(Word::Paused)), [Act::Say(Word::RequestFailover)]);
    assert_eq!(told(&mut target, 4, Event::Heard(Word::FailoverGranted)), [Act::Claim]);
    assert_eq!(told(&mut target, 4, Event::Claimed(Ok(()))), [Act::TellEnd, Act::Close]);
    assert!(state(&target) == State::Success && target.hidden_slots().is_empty());
}

#[test]
fn a_word_out_of_turn_ends_it() {
    for word in [Word::Paused, Word::FailoverGranted, Word::RequestPause] {
        let mut target = import();
        let _ = told(&mut target, 1, Event::Heard(Word::Ack));
        assert_eq!(told(&mut target, 2, Event::Heard(word)), [Act::Close, Act::Drop]);
        assert_eq!(state(&target), State::CleaningUp);
        assert_eq!(told(&mut target, 3, Event::Dropped), [Act::TellEnd]);
        assert_eq!(target.get(&id(1)).unwrap().message, OUT_OF_TURN);
    }
    let mut source = export();
    let _ = (told(&mut source, 1, Event::Connected), told(&mut source, 1, Event::Established));
    assert_eq!(told(&mut source, 2, Event::Heard(Word::RequestFailover)), [Act::Close]);
    assert_eq!(state(&source), State::Failed);
}

#[test]
fn before_the_grant_any_end_of_the_connection_is_the_end_of_the_job() {
    let events = [
        Event::Connected,
        Event::Established,
        Event::SnapshotSent,
        Event::Heard(Word::RequestPause),
        Event::Queued { bytes: 0 },
        Event::Quiet,
    ];
    for count in 2..=events.len() {
        for (last, ends_as) in [
            (Event::Lost, State::Failed),
            (Event::Cancelled, State::Cancelled),
            (Event::Flushed, State::Failed),
            (Event::Demoted, State::Failed),
            (Event::Owned(Owner::Other), State::Failed),
            (Event::Broken("x".into()), State::Failed),
        ] {
            let mut source = export();
            events[..count].iter().for_each(|event| _ = told(&mut source, 1, event.clone()));
            let acts = told(&mut source, 2, last);
            assert!(acts.contains(&Act::Close), "the cores stop, however it ends");
            assert!(state(&source) == ends_as && source.held_slots().is_empty());
        }
    }
}

#[test]
fn after_the_grant_the_source_waits_until_it_knows() {
    // The connection goes, it is cancelled, data are flushed: nothing of that says what the target does.
    for event in [Event::Lost, Event::Cancelled, Event::Flushed, Event::Broken("x".into()), Event::Tick] {
        let mut source = granted();
        let closes = event == Event::Lost;
        let expected: &[Act] = if closes { &[Act::Close] } else { &[] };
        assert_eq!(told(&mut source, 100_000, event), expected, "nothing but what belongs to the connection");
        assert!(!source.held_slots().is_empty());
        // An answer to a ping of before says nothing, nor does a failure before the time.
        let facts = |answered_ms, has_failed| Event::Target(TargetFacts { answered_ms, has_failed });
        let mut early = granted();
        assert_eq!(told(&mut early, 100 + GRANT_MS - 1, facts(0, true)), []);
        assert_eq!(told(&mut source, 100_000, facts(100 + GRANT_MS - 1, false)), []);
        let acts = told(&mut source, 100_000, facts(100 + GRANT_MS, false));
        assert!(acts.contains(&Act::Release) && !acts.contains(&Act::Reclaim));
        assert!(state(&source).is_over());
    }
    let mut source = granted();
    let failed = Event::Target(TargetFacts { answered_ms: 0, has_failed: true });
    let acts = told(&mut source, 100 + GRANT_MS, failed);
    let reclaims = acts.iter().position(|act| *act == Act::Reclaim);
    assert!(reclaims < acts.iter().position(|act| *act == Act::Release), "on disk before anything is written");
    assert_eq!(state(&source), State::Failed);
}

#[test]
fn a_late_grant_is_not_used() {
    let mut target = import();
    for word in [Word::Ack, Word::SnapshotEof, Word::Paused] {
        let _ = told(&mut target, 1, Event::Heard(word));
    }
    let acts = told(&mut target, 1 + CLAIM_WITHIN_MS + 1, Event::Heard(Word::FailoverGranted));
    assert_eq!(acts, [Act::Close, Act::Drop]);
    const { assert!(CLAIM_WITHIN_MS < GRANT_MS) };
}

#[test]
fn a_job_of_the_primary_is_known_until_it_ends_or_the_replica_leads() {
    let mut jobs = Jobs::default();
    jobs.note_fact(at(0), &format!("{} 3-5 9-9 x 7-", id(1)));
    assert!(jobs.hidden_slots().count() == 4 && jobs.get(&id(1)).unwrap().is_only_known());
    assert_eq!(jobs.get(&id(1)).unwrap().fact(), format!("{} 3-5 9-9", id(1)));
    assert_eq!(told(&mut jobs, 1, Event::Promoted), [Act::Drop]);
    assert_eq!(told(&mut jobs, 1, Event::Dropped), [Act::TellEnd]);
    // What is over was over before a snapshot that still knows of it is looked at.
    let mut jobs = Jobs::default();
    jobs.note_end(at(0), &LIMITS, &id(1), true, String::new());
    jobs.note_fact(at(0), &format!("{} 3-5", id(1)));
    assert!(jobs.hidden_slots().is_empty() && state(&jobs) == State::Success);
    // A target that becomes a replica leaves it to its primary, and does not touch the keys.
    let mut target = import();
    assert_eq!(told(&mut target, 1, Event::Demoted), [Act::Close]);
    assert_eq!(state(&target), State::OccurringOnPrimary);
}

#[test]
fn only_jobs_that_are_over_are_forgotten() {
    let mut jobs = Jobs::default();
    for number in 1..6 {
        jobs.begin_export(at(0), id(number), vec![(Slot::new(1), Slot::new(1))], id(7), id(8));
    }
    for number in [2, 4, 5] {
        let _ = jobs.handle(at(1), &LIMITS, &id(number), Event::Cancelled);
    }
    jobs.trim(3);
    let left: Vec<HexId> = jobs.iter().map(|job| job.name).collect();
    assert_eq!(left, [5, 3, 1].map(id));
    jobs.trim(0);
    assert_eq!(jobs.len(), 2);
}

/// The two nodes, what is on its way between them, and who has the slots.
struct World {
    source: Jobs,
    target: Jobs,
    /// Words on their way, and when they arrive; none once the connection is gone.
    to_target: Vec<(u64, Word)>,
    to_source: Vec<(u64, Word)>,
    is_linked: bool,
    /// When the target has claimed the slots, and with which epoch the source has taken them back.
    claimed_ms: Option<u64>,
    reclaimed: bool,
    /// The source hears of a claim from then on; a target that is down says nothing.
    bus_is_cut: bool,
    target_is_down: bool,
    ms: u64,
    /// Has written since the last word that says that it does not.
    pinged_ms: u64,
    answered_ms: u64,
}

impl World {
    fn new() -> World {
        let (source, target) = (export(), import());
        World {
            source,
            target,
            to_target: Vec::new(),
            to_source: Vec::new(),
            is_linked: true,
            claimed_ms: None,
            reclaimed: false,
            bus_is_cut: false,
            target_is_down: false,
            ms: 0,
            pinged_ms: 0,
            answered_ms: 0,
        }
    }

    fn at_source(&mut self, event: Event, random: &mut Random) {
        for act in told(&mut self.source, self.ms, event) {
            match act {
                Act::Say(word) => self.to_target.push((self.ms + random.below(800), word)),
                Act::Close => self.cut(),
                Act::Walk => self.at_source(Event::SnapshotSent, random),
                Act::Hold => self.at_source(Event::Quiet, random),
                Act::Reclaim => self.reclaimed = true,
                _ => {}
            }
        }
    }

    fn at_target(&mut self, event: Event, random: &mut Random) {
        if self.target_is_down {
            return;
        }
        for act in told(&mut self.target, self.ms, event) {
            match act {
                Act::Say(word) => self.to_source.push((self.ms + random.below(800), word)),
                Act::Close => self.cut(),
                Act::Claim => {
                    let claims = random.below(8) != 0;
                    self.claimed_ms = claims.then_some(self.ms);
                    let outcome = if claims { Ok(()) } else { Err("disk".to_owned()) };
                    self.at_target(Event::Claimed(outcome), random);
                }
                Act::Drop => self.at_target(Event::Dropped, random),
                _ => {}
            }
        }
    }

    fn cut(&mut self) {
        self.is_linked = false;
        (self.to_target, self.to_source) = (Vec::new(), Vec::new());
    }

    fn step(&mut self, random: &mut Random) {
        self.ms += 1 + random.below(50);
        let ms = self.ms;
        if let Some((_, word)) = self.to_target.first().copied().filter(|(due, _)| *due <= ms) {
            self.to_target.remove(0);
            self.at_target(Event::Heard(word), random);
        }
        if let Some((_, word)) = self.to_source.first().copied().filter(|(due, _)| *due <= ms) {
            self.to_source.remove(0);
            self.at_source(Event::Heard(word), random);
        }
        if !self.is_linked {
            self.at_source(Event::Lost, random);
            self.at_target(Event::Lost, random);
        }
        self.at_source(Event::Queued { bytes: random.below(2) }, random);
        match random.below(500) {
            0 => self.cut(),
            1 => self.bus_is_cut = true,
            2 => self.bus_is_cut = false,
            3 => self.at_source(Event::Cancelled, random),
            4 => {
                self.target_is_down = true;
                self.cut();
            }
            _ => {}
        }
        self.at_source(Event::Tick, random);
        self.at_target(Event::Tick, random);
        let is_heard = !self.bus_is_cut && !self.target_is_down;
        if is_heard && !self.reclaimed {
            // A packet of the target, with its claim if there is one, answers a ping.
            if random.below(2) == 0 {
                self.answered_ms = self.pinged_ms;
                let owner = if self.claimed_ms.is_some() { Owner::Target } else { Owner::Source };
                self.at_source(Event::Owned(owner), random);
                let facts = TargetFacts { answered_ms: self.answered_ms, has_failed: false };
                if owner == Owner::Source {
                    self.at_source(Event::Target(facts), random);
                }
            }
            self.pinged_ms = self.ms;
        } else if !is_heard && self.target_is_down && random.below(40) == 0 {
            self.at_source(Event::Target(TargetFacts { answered_ms: self.answered_ms, has_failed: true }), random);
        }
    }
}

#[test]
fn the_source_never_writes_what_the_target_may_have_taken() {
    let (mut moved, mut failed) = (0, 0);
    for seed in 0..4000 {
        let mut random = Random::new(seed);
        let mut world = World::new();
        world.at_source(Event::Connected, &mut random);
        world.at_source(Event::Established, &mut random);
        for _ in 0..2000 {
            world.step(&mut random);
            let source_state = state(&world.source);
            let knows = source_state == State::Success;
            let writes = world.source.held_slots().is_empty() && !knows;
            if world.claimed_ms.is_some() && writes {
                assert!(world.reclaimed, "seed {seed}: both write at {}, the source is {source_state:?}", world.ms);
            }
        }
        // In the end all is said.
        (world.bus_is_cut, world.target_is_down) = (false, false);
        world.cut();
        for _ in 0..400 {
            world.step(&mut random);
            (world.bus_is_cut, world.target_is_down) = (false, false);
        }
        assert!(state(&world.source).is_over() && state(&world.target).is_over(), "seed {seed}");
        let is_moved = state(&world.source) == State::Success;
        assert_eq!(is_moved, world.claimed_ms.is_some() && !world.reclaimed, "seed {seed}");
        if is_moved { moved += 1 } else { failed += 1 }
    }
    assert!(moved > 300 && failed > 300, "{moved} moved, {failed} failed");
}
