//! The times in a profile of ONNX Runtime: a list of events in the format of Chrome's trace viewer, in microseconds.

use super::Made;
use qp_abi::sdk::{BackendError, Result};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;

/// What the name of a kernel's event ends with.
const KERNEL: &str = "_kernel_time";
/// The name of the event of a whole run.
const RUN: &str = "model_run";

#[derive(Debug, Deserialize)]
struct Event {
    name: String,
    #[serde(default)]
    ts: u64,
    #[serde(default)]
    dur: u64,
    #[serde(default)]
    args: Arguments,
}

#[derive(Debug, Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    op_name: String,
}

/// The runs of a session and what its kernels took in them.
#[derive(Debug, Default)]
pub(super) struct Profile {
    /// Begin and duration.
    runs: Vec<(u64, u64)>,
    /// Events of kernels by the run, in the order of time.
    kernels: Vec<Vec<Event>>,
}

impl Profile {
    /// # Errors
    /// `RuntimeFailed`.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let failed = |cause: String| {
            BackendError::runtime_failed("the profile that ONNX Runtime has written cannot be read")
                .with_cause(cause)
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let events: Vec<Event> = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        Ok(Self::of(events))
    }

    fn of(events: Vec<Event>) -> Self {
        let (runs, mut others): (Vec<Event>, Vec<Event>) =
            events.into_iter().partition(|event| event.name == RUN);
        let mut runs: Vec<(u64, u64)> = runs.iter().map(|run| (run.ts, run.dur)).collect();
        runs.sort_unstable();
        others.retain(|event| event.name.ends_with(KERNEL));
        others.sort_by_key(|event| event.ts);
        let mut kernels: Vec<Vec<Event>> = runs.iter().map(|_| Vec::new()).collect();
        for event in others {
            let after = runs.partition_point(|(begin, _)| *begin <= event.ts);
            if let Some(run) = after.checked_sub(1).filter(|&run| event.ts <= runs[run].0 + runs[run].1) {
                kernels[run].push(event);
            }
        }
        Self { runs, kernels }
    }

    pub(super) fn runs_ns(&self) -> Vec<u64> {
        self.runs.iter().map(|(_, duration)| duration * 1000).collect()
    }

    /// What each kernel took in each run; 0 where it did not run.
    pub(super) fn of_kernels(&self, made: &Made<'_>) -> Vec<Vec<u64>> {
        let mut places: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
        for (kernel, layer) in made.layers.iter().enumerate() {
            places.entry((made.names[kernel], &layer.op_type)).or_default().push(kernel);
        }
        let mut times = vec![vec![0; self.runs.len()]; made.layers.len()];
        for (run, events) in self.kernels.iter().enumerate() {
            let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
            for event in events {
                let operator = event.args.op_name.as_str();
                let name = event.name.strip_suffix(KERNEL).unwrap_or(&event.name);
                // A node without a name is named after its operator and place.
                let key = [(name, operator), ("", operator)].into_iter().find(|key| places.contains_key(key));
                let Some(key) = key else { continue };
                let kernels = &places[&key];
                let count = seen.entry(key).or_default();
                times[kernels[*count % kernels.len()]][run] += event.dur * 1000;
                *count += 1;
            }
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_belong_to_the_run_that_they_happen_in() {
        let events = r#"[
            {"name": "session_initialization", "ts": 1, "dur": 5},
            {"name": "a_kernel_time", "ts": 25, "dur": 2, "args": {"op_name": "Conv"}},
            {"name": "model_run", "ts": 20, "dur": 10},
            {"name": "a_fence_before", "ts": 11, "dur": 1, "args": {"op_name": "Conv"}},
            {"name": "a_kernel_time", "ts": 12, "dur": 3, "args": {"op_name": "Conv", "node_index": "0"}},
            {"name": "model_run", "ts": 10, "dur": 8},
            {"name": "b_kernel_time", "ts": 19, "dur": 1, "args": {"op_name": "Conv"}}
        ]"#;
        let profile = Profile::of(serde_json::from_str(events).unwrap());
        assert_eq!(profile.runs_ns(), [8000, 10_000]);
        let durations: Vec<Vec<u64>> =
            profile.kernels.iter().map(|run| run.iter().map(|event| event.dur).collect()).collect();
        assert_eq!(durations, [[3], [2]]);
    }
}
