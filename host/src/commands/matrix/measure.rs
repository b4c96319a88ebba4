//! The runs of all variants: those that have no row of an earlier matrix, together with the reference.

use super::{Arguments, Measured, TOP, Variant};
use crate::backend::Progress;
use crate::capture::Side;
use crate::capture::evaluation::{self, Plan, Tally, Truth};
use crate::error::{Error, ErrorKind, Result};
use crate::input::Input;

/// The rows of all models: `earlier` ones, and those of the models that have none, measured together with the reference.
/// Returns what stopped that, too; what was counted before is kept.
pub(super) fn measure(
    sides: &[Side<'_>],
    mut earlier: Vec<Option<Measured>>,
    (input, labels, classes): (&Input, Option<&[i64]>, &[String]),
    (arguments, reference): (&Arguments, usize),
    progress: &dyn Progress,
) -> Result<(Vec<Variant>, Option<Error>)> {
    if earlier.iter().any(Option::is_none) {
        earlier[reference] = None;
    }
    let fresh: Vec<usize> = (0..sides.len()).filter(|&index| earlier[index].is_none()).collect();
    let chosen: Vec<Side<'_>> = fresh.iter().map(|&index| sides[index].clone()).collect();
    let plan = Plan {
        truth: labels.map_or(Truth::Unknown, Truth::Labels),
        output: None,
        top: TOP,
        reference: fresh.iter().position(|&index| index == reference),
    };
    let (evaluated, stop) = match chosen.is_empty() {
        true => (Vec::new(), None),
        false => evaluate(&chosen, input, arguments, plan, progress)?,
    };
    let mut evaluated = evaluated.into_iter();
    let names = labels.is_some().then_some(classes);
    let mut variant = |(side, earlier): (&Side<'_>, Option<Measured>)| match (earlier, &stop) {
        (None, _) => {
            let tally = evaluated.next().unwrap_or_else(|| Err(Error::internal("it was not evaluated")));
            Variant::of(side.model, tally, names, arguments.margin)
        }
        // Its numbers are of more samples than those of an interrupted run.
        (Some(_), Some(stop)) => Variant::failed(&side.model.id, stop.clone()),
        (measured, None) => Variant { is_kept: true, measured, ..Variant::unmeasured(side.model) },
    };
    let mut variants: Vec<Variant> = sides.iter().zip(earlier).map(&mut variant).collect();
    variants[reference].is_reference = true;
    Ok((variants, stop))
}

/// Evaluates all models in one go; if one fails, each alone with the reference, so that the others still get their
/// numbers. What was counted before an interruption is kept, and returned with it.
fn evaluate(
    sides: &[Side<'_>],
    input: &Input,
    arguments: &Arguments,
    plan: Plan<'_>,
    progress: &dyn Progress,
) -> Result<(Vec<Result<Tally>>, Option<Error>)> {
    let feed = arguments.choice.samples.for_outputs(input);
    let together = |sides: &[Side<'_>], plan: Plan<'_>| -> Result<(Vec<Tally>, Option<Error>)> {
        let batches = feed.batches(&sides.iter().collect::<Vec<_>>())?;
        match evaluation::evaluate(sides, batches, plan, progress) {
            (tallies, Some(error))
                if error.kind() != ErrorKind::Cancelled || tallies.iter().all(|tally| tally.samples == 0) =>
            {
                Err(error)
            }
            counted => Ok(counted),
        }
    };
    let error = match together(sides, plan) {
        Ok((tallies, stop)) => return Ok((tallies.into_iter().map(Ok).collect(), stop)),
        Err(error) if error.kind() == ErrorKind::Cancelled || sides.len() == 1 => return Err(error),
        Err(error) => error,
    };
    let place = plan.reference.unwrap_or(0);
    let mut all = Vec::new();
    for (index, side) in sides.iter().enumerate() {
        let pair = if index == place { vec![side.clone()] } else { vec![sides[place].clone(), side.clone()] };
        let own = Plan { reference: (index != place).then_some(0), ..plan };
        match together(&pair, own) {
            // Numbers from fewer samples than the others would not be comparable.
            Ok((_, Some(stop))) => return Err(stop),
            Ok((mut tallies, None)) => all.push(Ok(tallies.pop().unwrap_or_default())),
            Err(failed) if failed.kind() == ErrorKind::Cancelled => return Err(failed),
            Err(_) if index == place => return Err(error),
            Err(failed) => all.push(Err(failed)),
        }
    }
    Ok((all, None))
}
