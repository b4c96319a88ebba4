//! Which samples of an input.

use super::number::integer_in;
use crate::capture::Feed;
use crate::input::Input;

/// Batch size, unless the user or a command says otherwise.
const BATCH: u64 = 8;
/// The same for commands that only look at outputs.
const BATCH_OF_OUTPUTS: u64 = 32;

/// Which samples, and how many at a time.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::commands) struct Samples {
    /// Only the first samples
    #[arg(long = "samples", value_name = "COUNT")]
    pub(in crate::commands) first: Option<u64>,
    /// How many samples to run together, from 1 to 4096
    #[arg(long, value_name = "COUNT", value_parser = integer_in::<u64>(1..=4096))]
    pub(in crate::commands) batch: Option<u64>,
}

impl Samples {
    /// These of `input`, in larger batches: for commands that only look at outputs.
    pub(in crate::commands) fn for_outputs<'a>(&self, input: &'a Input) -> Feed<'a> {
        Feed { batch: self.batch.unwrap_or(BATCH_OF_OUTPUTS), ..self.of(input) }
    }

    /// These of `input`.
    pub(in crate::commands) fn of<'a>(&self, input: &'a Input) -> Feed<'a> {
        Feed { input, samples: self.first, batch: self.batch.unwrap_or(BATCH) }
    }
}
