//! The examination: how good the candidate is, the known faults, and what each layer costs.

use super::costs::Costs;
use super::words::{describe, evidence_of, line};
use super::{Arguments, Cost, Diagnosis, Evidence, Finding, LeftOut};
use crate::backend::Progress;
use crate::capture::evaluation::{self, Plan, Truth};
use crate::capture::pairing::Activations;
use crate::capture::products::{Counted, Product, count, products};
use crate::capture::sensitivity::Measured;
use crate::capture::switched::Switched;
use crate::capture::{Comparison, Execution, Side};
use crate::commands::arguments::evidence::Choice;
use crate::commands::arguments::number::BUDGET_BYTES;
use crate::commands::fields::judged::{Judged, remember};
use crate::diagnosis::{Observed, causes};
use crate::error::{Error, ErrorKind, Result};
use crate::inspect::graph::Graph;
use crate::lint::{Level, LintFinding, Rule, lint_with};
use crate::playground::Playground;
use crate::render::number;
use crate::render::text::counted;
use qp_analysis::{Reason, Verdict};

/// A layer that is this far from the float one on the same inputs computes something else.
const BROKEN_DB: f64 = 3.0;
/// A reference that is right less often is not getting the data that it was trained on.
const HOPELESS: f64 = 0.2;
/// Overflows that leave less than this are worse than 4 bits, on processors where they happen.
const OVERFLOWING_DB: f64 = 20.0;
/// Overflows that leave less than this are worth a note even on processors where they do not happen.
const DROWNING_DB: f64 = 6.0;
/// An output closer than this to the float one is what quantization normally gives.
const HEALTHY_OUTPUT_DB: f64 = 20.0;
/// A smaller cost cannot be seen.
const COSTLY_DB: f64 = 3.0;
/// Layers that are listed if no known fault is found.
const MOST_SENSITIVE: usize = 3;

/// What the steps of an examination share.
struct Case<'e> {
    choice: &'e Choice,
    evidence: &'e Evidence,
    reference: &'e Side<'e>,
    candidate: &'e Side<'e>,
    values: &'e Activations<'e>,
    products: &'e [Product<'e>],
    costs: Costs<'e>,
}

impl Diagnosis {
    /// How good both models are.
    ///
    /// # Errors
    /// Those of running them; `Cancelled`.
    pub(super) fn evaluate(
        &mut self,
        arguments: &Arguments,
        evidence: &Evidence,
        classes: &[String],
        playground: &Playground,
        progress: &dyn Progress,
    ) -> Result<()> {
        let choice = &arguments.choice;
        let models = [&*evidence.reference_model, &*evidence.candidate_model];
        let sides = models.map(|model| Side::of(model, choice.running.options(model), playground, progress));
        let batches = choice.samples.for_outputs(&evidence.input).batches(&sides.each_ref())?;
        let truth = evidence.labels.as_deref().map_or(Truth::Unknown, Truth::Labels);
        let plan = Plan { truth, output: None, top: 1, reference: Some(0) };
        let (tallies, stop) = evaluation::evaluate(&sides, batches, plan, progress);
        if let Some(error) = stop {
            return Err(error);
        }
        self.samples = tallies.first().map_or(0, |tally| tally.samples);
        let names = evidence.labels.is_some().then_some(classes);
        let mut judged = tallies.into_iter().map(|tally| Judged::of(tally, names, arguments.margin));
        let (Some(reference), Some(candidate)) = (judged.next(), judged.next()) else {
            return Err(Error::internal("two models were evaluated, and one result is missing"));
        };
        let both = [(models[0], &reference), (models[1], &candidate)];
        remember(playground, both.into_iter(), self.samples, &choice.labelled(&self.data));
        if let Some(accuracy) = &reference.accuracy
            && accuracy.correct.interval.high < HOPELESS
        {
            self.causes.push(Finding {
                text: format!(
                    "{} itself is right on only {} of these samples: the labels, the preprocessing or the order of the channels are not what it was trained on",
                    self.reference,
                    number::percent(accuracy.correct.share)
                ),
                mend: "Prepare the samples as the model expects: `input` and `data` take a mean, standard deviation, scale and layout.".to_owned(),
                evidence: line(&["evaluate", &self.reference], &choice.words_with_labels()),
                ..Finding::new("data", None)
            });
        }
        self.judged = Some((reference, candidate));
        Ok(())
    }

    /// Looks for causes. A step that fails is left out; the others still run.
    ///
    /// # Errors
    /// `Cancelled`; those of running both models on the first batch.
    pub(super) fn examine(
        &mut self,
        choice: &Choice,
        evidence: &Evidence,
        progress: &dyn Progress,
    ) -> Result<()> {
        let (reference, candidate) = (&evidence.reference(), &evidence.candidate());
        let values = &evidence.pairs(reference, candidate, progress)?;
        let products = &self.or_left_out("overflows", products(candidate.model, progress))?;
        let costs = self
            .or_left_out("what each layer costs", costs(evidence, reference, candidate, values, progress))?;
        let case = Case { choice, evidence, reference, candidate, values, products, costs };
        let facts = case.facts(self, progress);
        self.or_left_out("the file", facts)?;
        let rectified = case.known_faults(self, progress);
        let rectified = self.or_left_out("weights and ranges", rectified)?;
        let broken = case.broken_layers(self, &rectified, progress);
        self.or_left_out("layers", broken)?;
        let overflows = case.overflows(self, progress);
        self.or_left_out("overflows", overflows)?;
        self.put_aside();
        if self.causes.is_empty() && self.is_worse() {
            self.causes = case.most_sensitive(self);
        }
        let cost = |finding: &Finding| {
            (finding.cost.accuracy_pp.unwrap_or(0.0), finding.cost.gain_db.unwrap_or(0.0))
        };
        self.causes.sort_by(|left, right| {
            let (left, right) = (cost(left), cost(right));
            right.0.total_cmp(&left.0).then(right.1.total_cmp(&left.1))
        });
        Ok(())
    }

    /// The verdict of the evaluation, with labels.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        Some(self.judged.as_ref()?.1.paired.as_ref()?.verdict)
    }

    /// The accuracies of both; `None` without labels.
    pub(super) fn accuracies(&self) -> Option<(f64, f64)> {
        let (reference, candidate) = self.judged.as_ref()?;
        let share = |judged: &Judged| Some(judged.accuracy.as_ref()?.correct.share);
        share(reference).zip(share(candidate))
    }

    /// The SQNR of the output.
    pub(super) fn sqnr_db(&self) -> Option<f64> {
        self.judged.as_ref()?.1.agreement.as_ref()?.errors.sqnr_db
    }

    /// The share of the samples that both models put in the same class; `None` if the output is not scores.
    pub(super) fn same_share(&self) -> Option<f64> {
        self.judged.as_ref()?.1.agreement.as_ref()?.same_share
    }

    fn is_near(&self) -> bool {
        self.sqnr_db().is_some_and(|sqnr| sqnr >= HEALTHY_OUTPUT_DB)
    }

    fn is_worse(&self) -> bool {
        match self.verdict() {
            Some(verdict) => verdict == Verdict::Worse,
            None => !self.is_near() || self.same_share().is_some_and(|share| share < 1.0),
        }
    }

    /// Turns causes that are a matter of degree, and cost nothing that can be measured here, into notes.
    fn put_aside(&mut self) {
        let is_healthy = self.verdict() != Some(Verdict::Worse) && self.is_near();
        let is_costly = |cost: &Cost| {
            cost.gain_db.is_some_and(|gain| gain >= COSTLY_DB)
                || cost.accuracy_pp.is_some_and(|lost| lost > 0.0)
        };
        let (aside, kept): (Vec<Finding>, Vec<Finding>) = std::mem::take(&mut self.causes)
            .into_iter()
            .partition(|cause| is_healthy && cause.is_of_degree && !is_costly(&cause.cost));
        self.causes = kept;
        if let Some(first) = aside.first() {
            let place = first.layer.as_deref().unwrap_or_default();
            let others = match aside.len() - 1 {
                0 => String::new(),
                others => format!(", and {} more like it", counted(others, "layer")),
            };
            self.notes.push(format!("without a measurable cost here: {place}: {}{others}", first.text));
        }
    }

    /// What a step found; nothing if it failed, which is noted.
    fn or_left_out<T: Default>(&mut self, step: &'static str, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
            Err(error) => {
                self.left_out.push(LeftOut { step, error });
                Ok(T::default())
            }
            found => found,
        }
    }

    fn is_known(&self, layer: &str) -> bool {
        self.causes.iter().any(|cause| cause.layer.as_deref() == Some(layer))
    }
}

impl Finding {
    /// A cause that says nothing yet.
    fn new(code: &'static str, layer: Option<&str>) -> Self {
        Self {
            layer: layer.map(str::to_owned),
            code,
            text: String::new(),
            cost: Cost::default(),
            mend: String::new(),
            evidence: String::new(),
            is_of_degree: false,
        }
    }
}

/// What each layer costs.
fn costs<'e>(
    evidence: &Evidence,
    reference: &Side<'_>,
    candidate: &Side<'_>,
    values: &Activations<'e>,
    progress: &dyn Progress,
) -> Result<Costs<'e>> {
    let switched = Switched::new(reference, candidate, &values.pairs, None, progress)?;
    let batches = evidence.batches(&[reference, candidate])?;
    let labels = evidence.labels.as_deref();
    let (measured, stop) = Measured::of(&switched, (candidate, None), batches, labels, progress);
    match stop {
        Some(error) => Err(error),
        None => Ok(Costs::of(&measured, &switched, &values.pairs)),
    }
}

impl Case<'_> {
    /// What the file alone gives away: as a cause if results are wrong on any data, otherwise as a note.
    fn facts(&self, diagnosis: &mut Diagnosis, progress: &dyn Progress) -> Result<()> {
        let findings = lint_with(self.candidate.model, self.products, progress)?;
        let graph = Graph::of(self.candidate.model.info(), false);
        for finding in &findings {
            let Rule::Parameters(reason) = finding.rule else { continue };
            if is_fact(reason, finding.rule.level()) {
                diagnosis.causes.push(self.costs.put(Finding {
                    text: format!("{}: {}", finding.place(), finding.text),
                    mend: finding.rule.next_step().to_owned(),
                    evidence: line(&["lint", &diagnosis.candidate], &[]),
                    ..Finding::new(reason.code(), self.layer_of(finding, &graph))
                }));
            }
        }
        for (rule, one, many) in [
            (
                Rule::FloatLayer,
                "layer with a weight is still in float",
                "layers with weights are still in float",
            ),
            (
                Rule::FloatBetween,
                "layer computes in float between quantized ones",
                "layers compute in float between quantized ones",
            ),
        ] {
            let of_rule = findings.iter().filter(|finding| finding.rule == rule);
            let places: Vec<&str> = of_rule.filter_map(|finding| finding.layer.as_deref()).collect();
            match places[..] {
                [] => {}
                [only] => diagnosis.notes.push(format!("1 {one}: {only}")),
                [first, ..] => diagnosis.notes.push(format!("{} {many}: first {first}", places.len())),
            }
        }
        let grave = findings.iter().filter(|finding| finding.rule.level() < Level::Note);
        let mut codes: Vec<&str> = grave.map(|finding| finding.rule.code()).collect();
        codes.retain(|code| diagnosis.causes.iter().all(|cause| cause.code != *code));
        codes.dedup();
        if !codes.is_empty() {
            diagnosis.notes.push(format!("`lint {}` warns of {}", diagnosis.candidate, codes.join(", ")));
        }
        Ok(())
    }

    /// The float model's layer that a finding is about: the one that computes the value, before any rounding, or reads the
    /// stored tensor.
    fn layer_of<'f>(&'f self, finding: &'f LintFinding, graph: &Graph<'f>) -> Option<&'f str> {
        let computing = finding.tensor.as_deref().and_then(|tensor| graph.computing(tensor));
        let own = computing.map(|layer| layer.path.as_str()).or(finding.layer.as_deref())?;
        Some(self.in_reference(own))
    }

    /// The float model's layer that a layer of the candidate is paired with; the candidate's own if there is none.
    fn in_reference<'f>(&'f self, layer: &'f str) -> &'f str {
        let pair = self.values.pairs.iter().find(|pair| pair.candidate.path == layer);
        pair.map_or(layer, |pair| pair.reference.path.as_str())
    }

    /// The known faults; returns the layers whose codes cut off negative values as a ReLU does.
    fn known_faults(&self, diagnosis: &mut Diagnosis, progress: &dyn Progress) -> Result<Vec<&str>> {
        let feed = self.evidence.feed();
        let mut observed = Observed::of(self.reference, self.values, feed, progress)?;
        observed.add_inputs(self.candidate, feed)?;
        let found = causes(self.reference.model, self.candidate.model, self.values, &observed, progress)?;
        for cause in found {
            let is_of_degree = cause.fault.is_of_degree();
            // A finding in the file at the same layer is more exact.
            if is_of_degree && diagnosis.is_known(&cause.layer) {
                continue;
            }
            let (text, mend) = describe(&cause, &diagnosis.reference);
            diagnosis.causes.push(self.costs.put(Finding {
                text,
                mend,
                evidence: evidence_of(
                    &cause,
                    &diagnosis.reference,
                    &diagnosis.candidate,
                    &self.choice.words(),
                ),
                is_of_degree,
                ..Finding::new(cause.fault.code(), Some(&cause.layer))
            }));
        }
        Ok(observed.rectified(self.values).map(|pair| pair.reference.path.as_str()).collect())
    }

    /// Layers that compute something other than the float ones although no known fault was found in them.
    fn broken_layers(
        &self,
        diagnosis: &mut Diagnosis,
        rectified: &[&str],
        progress: &dyn Progress,
    ) -> Result<()> {
        let (ours, theirs) = self.evidence.side_by_side(Execution::AsWritten, BUDGET_BYTES);
        let pairs = &self.values.pairs;
        let run = (self.evidence.feed(), BUDGET_BYTES / 2);
        let (comparison, alone, _) = Comparison::with_layers_alone(&ours, &theirs, pairs, run, progress)?;
        if let Some(stopped) = comparison.stopped {
            return Err(stopped);
        }
        let graph = Graph::of(self.candidate.model.info(), false);
        for (index, (pair, found)) in pairs.iter().zip(&comparison.compared).enumerate() {
            let layer = pair.reference.path.as_str();
            // A layer rounds what it reads: a cause at the layer before it explains what it computes, too.
            let mut before = pair.candidate.inputs.iter().filter_map(|input| graph.computing(input));
            let is_explained = before.any(|before| diagnosis.is_known(self.in_reference(&before.path)));
            let sqnr = found.local.metrics().sqnr_db.filter(|sqnr| *sqnr < BROKEN_DB);
            let Some(sqnr) = sqnr.filter(|_| found.is_alone(pair, alone.stand_in(index)) && !found.is_whole)
            else {
                continue;
            };
            if is_explained || diagnosis.is_known(layer) || rectified.contains(&layer) {
                continue;
            }
            let models = ["compare", &diagnosis.reference, &diagnosis.candidate, "--match", layer];
            let evidence = line(&models, &self.choice.words());
            diagnosis.causes.push(self.costs.put(Finding {
                text: format!(
                    "fed the float model's values, its output has an SQNR of only {sqnr:.1} dB; no scale, zero point or weight explains it"
                ),
                mend: "Compare the layer in both graphs: an activation may be missing, or the runtime's kernel may be wrong; `drift` tells the two apart.".to_owned(),
                evidence,
                is_of_degree: true,
                ..Finding::new("computes-otherwise", Some(layer))
            }));
        }
        Ok(())
    }

    /// Products that overflow where processors add two of them in 16 bits.
    fn overflows(&self, diagnosis: &mut Diagnosis, progress: &dyn Progress) -> Result<()> {
        if !self.products.iter().any(Product::is_at_risk) {
            return Ok(());
        }
        let mut counts = vec![None; self.products.len()];
        let feed = self.evidence.feed();
        let streamed = count(self.candidate, self.products, &mut counts, feed, progress)?;
        if let Some(stopped) = streamed.stopped {
            return Err(stopped);
        }
        let overflowing = self.products.iter().zip(&counts).filter_map(|(product, counted)| {
            let counted = counted.as_ref().filter(|counted| counted.wrong > 0)?;
            Some((product.layer.path.as_str(), counted, counted.sqnr_db()?))
        });
        let worst = overflowing.min_by(|left, right| left.2.total_cmp(&right.2));
        let Some((layer, Counted { wrong, outputs, .. }, sqnr)) = worst else { return Ok(()) };
        let text = format!(
            "on x86 without VNNI, sums of two products overflow 16 bits: {} of its outputs are wrong, which leaves an SQNR of {}",
            number::percent(*wrong as f64 / (*outputs).max(1) as f64),
            number::decibels(sqnr)
        );
        let evidence = line(&["saturation", &diagnosis.candidate], &[]);
        if sqnr < if adds_in_16_bits() { OVERFLOWING_DB } else { DROWNING_DB } {
            diagnosis.causes.push(Finding {
                text,
                mend: "Quantize the weights to 7 bits (`reduce_range`) or to uint8, or run on a processor with VNNI."
                    .to_owned(),
                evidence,
                ..Finding::new("kernel-overflow", Some(layer))
            });
        } else {
            diagnosis.notes.push(format!("{layer}: {text} (`{evidence}`)"));
        }
        Ok(())
    }

    /// The layers that cost most, where no known fault was found.
    fn most_sensitive(&self, diagnosis: &Diagnosis) -> Vec<Finding> {
        let models = ["sensitivity", &diagnosis.reference, &diagnosis.candidate];
        let evidence = line(&models, &self.choice.words_with_labels());
        let finding = |layer| {
            self.costs.put(Finding {
                text: "its codes are correct but too coarse: it is one of the layers that cost most"
                    .to_owned(),
                mend: "Leave it in float (`nodes_to_exclude`) or give it more bits.".to_owned(),
                evidence: evidence.clone(),
                ..Finding::new("sensitive", Some(layer))
            })
        };
        self.costs.highest(MOST_SENSITIVE).into_iter().map(finding).collect()
    }
}

/// Whether this processor adds two products in 16 bits.
fn adds_in_16_bits() -> bool {
    #[cfg(target_arch = "x86_64")]
    return !(std::arch::is_x86_feature_detected!("avx512vnni")
        || std::arch::is_x86_feature_detected!("avxvnni"));
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Whether a finding about parameters makes results wrong on any data.
fn is_fact(reason: Reason, level: Level) -> bool {
    level == Level::Error || matches!(reason, Reason::PairMismatch | Reason::BiasSaturated)
}
