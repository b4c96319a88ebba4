//! The runs of several models in turn, and how long each took.

use crate::backend::{Fetch, Progress, RunReport};
use crate::capture::Side;
use crate::capture::side::OnlyCancel;
use crate::error::{Error, Result};
use crate::model::Tensor;
use qp_analysis::quantile;
use std::time::{Duration, Instant};

/// Warm-up: every model runs at least this often, and this long, before anything is counted.
const WARM_UP: (usize, Duration) = (2, Duration::from_millis(200));
/// After this pause, threads of another runtime that spin while they wait for work are asleep.
const PAUSE: Duration = Duration::from_millis(100);
/// Rounds that are measured, however long they take.
const FEWEST_ROUNDS: usize = 10;
/// More rounds add no information.
const MOST_ROUNDS: usize = 10_000;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(super) enum Extent {
    /// This many rounds.
    Rounds(u32),
    /// As many rounds as fit into this time, within limits.
    Time(Duration),
}

/// A model and the samples that it is run on.
pub(super) struct Contestant<'a> {
    pub(super) side: Side<'a>,
    pub(super) tensors: &'a [Tensor],
}

/// What was measured of one model.
pub(super) struct Measured {
    /// Milliseconds of each round.
    pub(super) times_ms: Vec<f64>,
    /// The median of the later half of the runs before them, when no other model ran.
    pub(super) alone_ms: f64,
    /// The last of these runs.
    pub(super) report: RunReport,
    /// How much the resident memory of the process grew until these were over; `None` where the system does not say.
    pub(super) gained_bytes: Option<u64>,
}

/// Runs the models in turn, every second time in the opposite order, so that none always runs after the same one.
/// Returns what was measured up to an error or the user's interruption, and that.
pub(super) fn measure(
    contestants: &[Contestant<'_>],
    extent: Extent,
    progress: &dyn Progress,
) -> (Vec<Measured>, Option<Error>) {
    let mut measured = Vec::new();
    for (place, contestant) in contestants.iter().enumerate() {
        progress.update("warming up", place as u64, contestants.len() as u64);
        if place > 0 {
            std::thread::sleep(PAUSE);
        }
        match warm(contestant, progress) {
            Ok(warm) => measured.push(warm),
            Err(error) => return (Vec::new(), Some(error)),
        }
    }
    let started = Instant::now();
    let goes_on = |rounds: usize| match extent {
        Extent::Rounds(wanted) => rounds < wanted as usize,
        Extent::Time(time) => rounds < FEWEST_ROUNDS || (started.elapsed() < time && rounds < MOST_ROUNDS),
    };
    let mut rounds = 0;
    while goes_on(rounds) {
        match extent {
            Extent::Rounds(wanted) => progress.update("measuring rounds", rounds as u64, wanted.into()),
            Extent::Time(_) => progress.update("measuring", 0, 0),
        }
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        if rounds % 2 == 1 {
            order.reverse();
        }
        let mut times_ms = vec![0.0; contestants.len()];
        for place in order {
            match run(&contestants[place], progress) {
                Ok(report) => times_ms[place] = milliseconds(&report),
                // A round counts as a whole or not at all.
                Err(error) => return (measured, Some(error)),
            }
        }
        for (measured, time_ms) in measured.iter_mut().zip(times_ms) {
            measured.times_ms.push(time_ms);
        }
        rounds += 1;
    }
    (measured, None)
}

/// The runs that are not counted.
fn warm(contestant: &Contestant<'_>, progress: &dyn Progress) -> Result<Measured> {
    let (before, started) = (resident_bytes(), Instant::now());
    let mut report = run(contestant, progress)?;
    let mut times_ms = vec![milliseconds(&report)];
    while times_ms.len() < WARM_UP.0 || started.elapsed() < WARM_UP.1 {
        report = run(contestant, progress)?;
        times_ms.push(milliseconds(&report));
    }
    let mut later = times_ms.split_off(times_ms.len() / 2);
    later.sort_by(f64::total_cmp);
    let alone_ms = quantile(&later, 0.5).unwrap_or(f64::NAN);
    let gained_bytes = before.zip(resident_bytes()).map(|(before, after)| after.saturating_sub(before));
    Ok(Measured { times_ms: Vec::new(), alone_ms, report, gained_bytes })
}

fn milliseconds(report: &RunReport) -> f64 {
    report.elapsed.as_secs_f64() * 1e3
}

/// One run; its outputs are dropped.
fn run(contestant: &Contestant<'_>, progress: &dyn Progress) -> Result<RunReport> {
    if progress.is_cancelled() {
        return Err(Error::cancelled());
    }
    let Contestant { side, tensors, .. } = contestant;
    let session = &side.model.session;
    session.run_into(tensors, &Fetch::Outputs, &side.options, &mut |_| Ok(()), &OnlyCancel(progress))
}

/// Bytes of the process that are in memory now; `None` where the system does not say.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    kibibytes(&status, "VmRSS:").map(|kibibytes| kibibytes * 1024)
}

fn kibibytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_line_of_its_name() {
        let status = "Name:\tqp\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(10240));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
    }
}
