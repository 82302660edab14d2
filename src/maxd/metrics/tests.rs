//! Rounds over measurements that are made up, and what the disk keeps of them.
#![allow(clippy::unwrap_used)]

use super::histogram::Counts;
use super::series::Piece;
use super::*;
use crate::maxd::plan::Limits;

const BEGAN: Duration = Duration::from_secs(1_800_000_000);

fn job(pid: u64, cpu_us: u64, memory: u64) -> Measured {
    let limits = Limits { memory: Some(1 << 20), cpu: None };
    Measured { app: 1, pid, cpu_us, memory, limits }
}

/// The time of a round, counted from the first.
fn at(round: u64) -> SystemTime {
    UNIX_EPOCH + BEGAN + STEP * u32::try_from(round).unwrap()
}

#[test]
fn a_reading_is_of_the_newest_round() {
    let (mut state, meter) = (State::default(), Arc::new(Meter::default()));
    let meters = [(1, meter.clone())];
    state.round(&[job(7, 1_000_000, 4096)], &meters, STEP, at(1));
    assert_eq!(state.apps[&1].reading(1).usage.cpu, 500);
    meter.answered(200, Duration::from_millis(1));
    meter.answered(500, Duration::from_millis(100));
    // The one process goes on; another release is started beside it.
    state.round(&[job(7, 1_500_000, 4096), job(8, 100_000, 1024)], &meters, STEP, at(2));
    let reading = state.apps[&1].reading(2);
    assert_eq!((reading.usage.cpu, reading.usage.memory), (250 + 50, 5120));
    assert_eq!((reading.usage.cpu_limit, reading.usage.memory_limit), (None, Some(2 << 20)));
    assert_eq!((reading.fullest.memory, reading.fullest.memory_limit), (4096, Some(1 << 20)));
    assert_eq!((reading.beat, reading.traffic.requests, reading.traffic.errors), (2, 2, 1));
    assert!((1000..1125).contains(&reading.traffic.p50_us.unwrap()));
    assert!((100_000..112_500).contains(&reading.traffic.p95_us.unwrap()));
    assert_eq!(state.apps[&1].job(8).unwrap().memory, 1024);
    assert!(state.apps[&1].job(9).is_none());
    // The minute goes on without requests.
    for round in 3..=31 {
        state.round(&[], &meters, STEP, at(round));
    }
    let reading = state.apps[&1].reading(31);
    assert_eq!((reading.usage.cpu, reading.usage.memory, reading.beat), (0, 0, 0));
    assert_eq!(reading.traffic.requests, 2);
    state.round(&[], &meters, STEP, at(32));
    assert!(state.apps[&1].reading(32).traffic == Traffic::default());
    let totals = state.apps[&1].totals();
    assert_eq!((totals.cpu_us, totals.classes), (1_600_000, [0, 1, 0, 0, 1]));
    assert_eq!((totals.buckets.iter().sum::<u64>(), totals.time_us), (2, 101_000));
}

#[test]
fn the_past_has_holes_where_nothing_was_measured() {
    let mut state = State::default();
    for round in 1..=50 {
        let jobs = if round == 45 { vec![] } else { vec![job(7, round * 20_000, 0)] };
        state.round(&jobs, &[], STEP, at(round));
    }
    let steps = state.apps[&1].newest(50, MINUTE);
    let cpu: Vec<u32> = steps.iter().map(|step| step.cpu).collect();
    assert_eq!((steps.len(), cpu[0], cpu[24]), (30, 10, 0));
    // It was not seen for a round, so all it has spent comes at once.
    assert_eq!(cpu[25], 460);
}

#[test]
fn an_hour_is_kept_and_an_idle_app_is_nothing() {
    let mut state = State::default();
    state.round(&[job(7, 0, 0)], &[], STEP, at(1));
    for round in 2..=KEPT + 10 {
        state.round(&[job(7, round, 0)], &[], STEP, at(round));
    }
    assert_eq!(state.times.len() as u64, KEPT);
    let history = state.samples(1, 3600, at(KEPT + 10));
    assert_eq!((history.step, history.samples.len() as u64), (2, KEPT));
    assert_eq!(history.samples.last().unwrap().time, rfc3339(at(KEPT + 10)));
    assert_eq!(state.samples(1, 60, at(KEPT + 10)).samples.len(), 30);
    state.batch();
    for round in 0..=KEPT {
        state.round(&[], &[], STEP, at(KEPT + 11 + round));
    }
    assert!(state.apps.is_empty());
}

#[test]
fn minutes_and_hours_add_up_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.db");
    let counts = Counts::of([0, 5].into_iter());
    let piece = Piece { steps: 30, cpu: 3000, memory: 7, errors: 1, counts };
    let start = 1_800_000_000;
    let write = |archive: &Archive, start, app| {
        let pieces = vec![(app, piece.clone())];
        archive.write(&Batch { start, pieces, forgotten: Vec::new() }).unwrap();
    };
    let archive = Archive::open(&path).unwrap();
    for minute in 0..90 {
        write(&archive, start + minute * 60, 1);
    }
    drop(archive);
    // After a restart the same minute goes on.
    let archive = Archive::open(&path).unwrap();
    write(&archive, start + 89 * 60, 1);
    let minutes = archive.read(1, archive::MINUTE, start).unwrap();
    assert_eq!((minutes.len(), minutes[&start].clone()), (90, piece.clone()));
    assert_eq!(minutes[&(start + 89 * 60)].steps, 60);
    let hours = archive.read(1, archive::HOUR, start).unwrap();
    assert_eq!(hours.values().map(|hour| hour.steps).collect::<Vec<_>>(), [1800, 930]);
    assert_eq!(hours[&start].sample(String::new()).cpu, 100);
    assert_eq!(hours[&start].counts.total(), 300);
    // A day later the minutes are gone; hours later are not.
    write(&archive, start + 86_400 + 7200, 1);
    assert_eq!(archive.read(1, archive::MINUTE, 0).unwrap().len(), 1);
    assert_eq!(archive.read(1, archive::HOUR, 0).unwrap().len(), 3);
    write(&archive, start + archive::LONGEST + 10_800, 1);
    assert_eq!(archive.read(1, archive::HOUR, 0).unwrap().len(), 2);
    write(&archive, start, 2);
    archive.retain(&[2]).unwrap();
    assert_eq!(archive.read(1, archive::HOUR, 0).unwrap().len(), 0);
    archive.write(&Batch { forgotten: vec![2], ..Batch::default() }).unwrap();
    assert_eq!(archive.read(2, archive::HOUR, 0).unwrap().len(), 0);
}
