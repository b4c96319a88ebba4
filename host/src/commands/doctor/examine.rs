//! The examination: what other commands find in the pair, and the known faults.

use super::costs::{Costs, real};
use super::words::{describe, evidence_of, line};
use super::{Arguments, Diagnosis, Evidence, Finding, LeftOut};
use crate::capture::products::{count, products};
use crate::commands::{Scope, report_of};
use crate::diagnosis::{Observed, causes};
use crate::error::{ErrorKind, Result};
use crate::inspect::graph::Graph;
use crate::inspect::range::representable;
use crate::lint::{Level, LintFinding, Rule, lint};
use crate::playground::Playground;
use crate::render::number;
use crate::render::text::counted;
use qp_analysis::Reason;
use serde_json::Value;
use std::collections::HashSet;

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

impl Diagnosis {
    /// Fills in the report. A step that fails is left out; the others still run.
    ///
    /// # Errors
    /// `Cancelled`; those of `evaluate`.
    pub(super) fn examine(
        &mut self,
        arguments: &Arguments,
        evidence: &Evidence,
        playground: &mut Playground,
        scope: &Scope<'_>,
    ) -> Result<()> {
        self.evaluate(arguments, playground, scope)?;
        let costs = self.costs(arguments, playground, scope)?;
        let step = self.structure(evidence, &costs, scope);
        self.or_left_out("the file", step)?;
        let mut rectified = HashSet::new();
        let step = self.named_faults(evidence, (arguments, &costs), scope).map(|found| rectified = found);
        self.or_left_out("weights and ranges", step)?;
        let step = self.broken_layers(arguments, (&costs, &rectified), playground, scope);
        self.or_left_out("layers", step)?;
        let step = self.kernels(evidence, scope);
        self.or_left_out("overflows", step)?;
        self.put_aside();
        let is_worse =
            self.verdict.as_deref() == Some("worse") || (self.verdict.is_none() && self.has_changed());
        if is_worse && self.causes.is_empty() {
            self.spread(arguments, &costs);
        }
        let cost = |finding: &Finding| (finding.accuracy_pp.unwrap_or(0.0), finding.gain_db.unwrap_or(0.0));
        self.causes.sort_by(|left, right| {
            let (left, right) = (cost(left), cost(right));
            right.0.total_cmp(&left.0).then(right.1.total_cmp(&left.1))
        });
        Ok(())
    }

    /// Turns causes that are a matter of degree, and cost nothing that can be measured here, into notes.
    fn put_aside(&mut self) {
        let is_healthy = self.verdict.as_deref() != Some("worse")
            && self.sqnr_db.is_some_and(|sqnr| sqnr >= HEALTHY_OUTPUT_DB);
        let is_costly = |cause: &Finding| {
            cause.gain_db.is_some_and(|gain| gain >= COSTLY_DB)
                || cause.accuracy_pp.is_some_and(|lost| lost > 0.0)
        };
        let (aside, kept): (Vec<Finding>, Vec<Finding>) = std::mem::take(&mut self.causes)
            .into_iter()
            .partition(|cause| is_healthy && is_of_degree(cause.code) && !is_costly(cause));
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

    fn has_changed(&self) -> bool {
        self.same_share.is_some_and(|share| share < 1.0) || self.sqnr_db.is_some_and(|sqnr| sqnr < 20.0)
    }

    fn or_left_out(&mut self, step: &'static str, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
            Err(error) => {
                self.left_out.push(LeftOut { step, error });
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn evaluate(
        &mut self,
        arguments: &Arguments,
        playground: &mut Playground,
        scope: &Scope<'_>,
    ) -> Result<()> {
        let margin = format!("{}pp", arguments.margin * 100.0);
        let mut words: Vec<String> = [&self.reference, &self.candidate].map(Clone::clone).into();
        words.extend(["--margin".to_owned(), margin]);
        words.extend(arguments.choice.words_with_labels());
        if let Some(samples) = arguments.choice.samples.first {
            words.extend(["--samples".to_owned(), samples.to_string()]);
        }
        let report = report_of("evaluate", words.iter().map(String::as_str), playground, scope)?;
        let value = report.value();
        let (reference, candidate) = (&value["models"][0], &value["models"][1]);
        self.samples = value["samples"].as_u64().unwrap_or(0);
        self.reference_accuracy = reference["accuracy"].as_f64();
        self.accuracy = candidate["accuracy"].as_f64();
        self.difference = candidate["paired"]["difference"].as_f64();
        self.verdict = candidate["paired"]["verdict"].as_str().map(str::to_owned);
        self.same_share = candidate["agreement"]["same_share"].as_f64();
        self.sqnr_db = real(&candidate["agreement"]["sqnr_db"]);
        if let Some(accuracy) =
            self.reference_accuracy.filter(|_| real(&reference["accuracy_high"]) < Some(HOPELESS))
        {
            self.causes.push(Finding {
                layer: None,
                code: "data",
                text: format!(
                    "{} itself is right on only {} of these samples: the labels, the preprocessing or the order of the channels are not what it was trained on",
                    self.reference,
                    number::percent(accuracy)
                ),
                accuracy_pp: None,
                changed: None,
                gain_db: None,
                mend: "Prepare the samples as the model expects: `input` and `data` take a mean, standard deviation, scale and layout.".to_owned(),
                evidence: line(&["evaluate", &self.reference], &arguments.choice.words_with_labels()),
            });
        }
        Ok(())
    }

    /// What each layer costs, by the float model's layer.
    fn costs(
        &mut self,
        arguments: &Arguments,
        playground: &mut Playground,
        scope: &Scope<'_>,
    ) -> Result<Costs> {
        let words = arguments.choice.words_with_labels();
        match self.layer_report("sensitivity", &words, playground, scope) {
            Ok(value) => Ok(Costs::of(&value)),
            Err(error) => {
                self.or_left_out("what each layer costs", Err(error))?;
                Ok(Costs::default())
            }
        }
    }

    /// The result of a command on the two models and the samples used for layers.
    fn layer_report(
        &self,
        command: &str,
        others: &[String],
        playground: &mut Playground,
        scope: &Scope<'_>,
    ) -> Result<Value> {
        let samples = self.layer_samples.to_string();
        let words = [&self.reference, &self.candidate, "--samples", &samples];
        let words = words.into_iter().chain(others.iter().map(String::as_str));
        Ok(report_of(command, words, playground, scope)?.into_value())
    }

    /// Adds the known faults; returns the layers whose codes cut off negative values as a ReLU does.
    fn named_faults(
        &mut self,
        evidence: &Evidence,
        (arguments, costs): (&Arguments, &Costs),
        scope: &Scope<'_>,
    ) -> Result<HashSet<String>> {
        let task = scope.ui.task(scope.cancel);
        let (reference, candidate) = (evidence.reference(), evidence.candidate());
        let values = evidence.pairs(&reference, &candidate, &task)?;
        let mut observed = Observed::of(&reference, &values, evidence.feed(), &task)?;
        if let Some(stopped) = observed.stopped.take() {
            return Err(stopped);
        }
        observed.add_inputs(&candidate, evidence.feed())?;
        let found = causes(&evidence.reference_model, &evidence.candidate_model, &values, &observed, &task)?;
        // A finding in the file at the same layer is more exact.
        let facts: HashSet<String> = self.causes.iter().filter_map(|cause| cause.layer.clone()).collect();
        for cause in found {
            if is_of_degree(cause.fault.code()) && facts.contains(&cause.layer) {
                continue;
            }
            let (text, mend) = describe(&cause, &self.reference);
            let finding = Finding {
                code: cause.fault.code(),
                text,
                mend,
                evidence: evidence_of(&cause, &self.reference, &self.candidate, &arguments.choice.words()),
                accuracy_pp: None,
                changed: None,
                gain_db: None,
                layer: Some(cause.layer),
            };
            self.causes.push(costs.put(finding));
        }
        let rectified = values.pairs.iter().filter(|pair| {
            let codes = pair.candidate_value.quantization.and_then(representable);
            codes.is_some_and(|(low, _)| low == 0.0) && observed.is_negative(pair.reference_value.name)
        });
        Ok(rectified.map(|pair| pair.reference.path.clone()).collect())
    }

    /// Layers that compute something other than the float ones although no known fault was found in them.
    fn broken_layers(
        &mut self,
        arguments: &Arguments,
        (costs, rectified): (&Costs, &HashSet<String>),
        playground: &mut Playground,
        scope: &Scope<'_>,
    ) -> Result<()> {
        let value = self.layer_report("compare", &arguments.choice.words(), playground, scope)?;
        for row in value["layers"].as_array().into_iter().flatten() {
            let (Some(layer), Some(alone)) = (row["layer"].as_str(), real(&row["local"]["sqnr_db"])) else {
                continue;
            };
            let is_known = self.causes.iter().any(|cause| cause.layer.as_deref() == Some(layer));
            if alone < BROKEN_DB && !is_known && !rectified.contains(layer) {
                self.causes.push(costs.put(Finding {
                    layer: Some(layer.to_owned()),
                    code: "computes-otherwise",
                    text: format!(
                        "fed the float model's values, its output has an SQNR of only {alone:.1} dB; no scale, zero point or weight explains it"
                    ),
                    accuracy_pp: None,
                    changed: None,
                    gain_db: None,
                    mend: "Compare the layer in both graphs: an activation may be missing, or the runtime's kernel may be wrong; `drift` tells the two apart.".to_owned(),
                    evidence: line(
                        &["compare", &self.reference, &self.candidate, "--match", layer],
                        &arguments.choice.words(),
                    ),
                }));
            }
        }
        Ok(())
    }

    /// Products that overflow where processors add two of them in 16 bits.
    fn kernels(&mut self, evidence: &Evidence, scope: &Scope<'_>) -> Result<()> {
        let task = scope.ui.task(scope.cancel);
        let products = products(&evidence.candidate_model, &task)?;
        if !products.iter().any(|product| product.is_at_risk()) {
            return Ok(());
        }
        let mut counts = vec![None; products.len()];
        let streamed = count(&evidence.candidate(), &products, &mut counts, evidence.feed(), &task)?;
        if let Some(stopped) = streamed.stopped {
            return Err(stopped);
        }
        let mut overflowing: Vec<(&String, f64, f64)> = products
            .iter()
            .zip(&counts)
            .filter_map(|(product, counted)| {
                let counted = counted.as_ref().filter(|counted| counted.wrong > 0)?;
                let share = counted.wrong as f64 / counted.outputs.max(1) as f64;
                Some((&product.layer.path, share, counted.sqnr_db()?))
            })
            .collect();
        overflowing.sort_by(|left, right| left.2.total_cmp(&right.2));
        let Some((layer, share, sqnr)) = overflowing.first() else { return Ok(()) };
        let text = format!(
            "on x86 without VNNI, sums of two products overflow 16 bits: {} of its outputs are wrong, which leaves an SQNR of {}",
            number::percent(*share),
            number::decibels(*sqnr)
        );
        if *sqnr < if adds_in_16_bits() { OVERFLOWING_DB } else { DROWNING_DB } {
            self.causes.push(Finding {
                layer: Some((*layer).clone()),
                code: "kernel-overflow",
                text,
                accuracy_pp: None,
                changed: None,
                gain_db: None,
                mend: "Quantize the weights to 7 bits (`reduce_range`) or to uint8, or run on a processor with VNNI."
                    .to_owned(),
                evidence: line(&["saturation", &self.candidate], &[]),
            });
        } else {
            self.notes.push(format!("{layer}: {text} (`saturation {}`)", self.candidate));
        }
        Ok(())
    }

    /// Findings in the file that cost speed, not accuracy.
    fn structure(&mut self, evidence: &Evidence, costs: &Costs, scope: &Scope<'_>) -> Result<()> {
        let task = scope.ui.task(scope.cancel);
        let findings = lint(&evidence.candidate_model, &task)?;
        for finding in findings.iter().filter(|finding| is_fact(&finding.rule)) {
            let Rule::Parameters(reason) = finding.rule else { continue };
            self.causes.push(costs.put(Finding {
                layer: self.layer_before(evidence, finding),
                code: reason.code(),
                text: format!("{}: {}", finding.place(), finding.text),
                accuracy_pp: None,
                changed: None,
                gain_db: None,
                mend: finding.rule.next_step().to_owned(),
                evidence: line(&["lint", &self.candidate], &[]),
            }));
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
            let places: Vec<&str> = findings
                .iter()
                .filter(|finding| finding.rule == rule)
                .filter_map(|finding| finding.layer.as_deref())
                .collect();
            if let Some(first) = places.first() {
                let text = if places.len() == 1 { one } else { many };
                let first = if places.len() == 1 { (*first).to_owned() } else { format!("first {first}") };
                self.notes.push(format!("{} {text}: {first}", places.len()));
            }
        }
        let grave =
            findings.iter().filter(|finding| finding.rule.level() < Level::Note && !is_fact(&finding.rule));
        let is_new = |code: &str| self.causes.iter().all(|cause| cause.code != code);
        let mut codes: Vec<&str> =
            grave.map(|finding| finding.rule.code()).filter(|code| is_new(code)).collect();
        codes.dedup();
        if !codes.is_empty() {
            self.notes.push(format!("`lint {}` warns of {}", self.candidate, codes.join(", ")));
        }
        Ok(())
    }

    /// The layer that a finding is about: the one that computes the value, before any rounding, or reads the stored tensor.
    fn layer_before(&self, evidence: &Evidence, finding: &LintFinding) -> Option<String> {
        let graph = Graph::of(evidence.candidate_model.info(), false);
        let computing = finding.tensor.as_deref().and_then(|tensor| graph.computing(tensor));
        computing.map(|layer| layer.path.clone()).or_else(|| finding.layer.clone())
    }

    /// No known fault: the layers that cost most.
    fn spread(&mut self, arguments: &Arguments, costs: &Costs) {
        for (layer, cost) in costs.highest(MOST_SENSITIVE) {
            self.causes.push(Finding {
                layer: Some(layer.clone()),
                code: "sensitive",
                text: "its codes are correct but too coarse: it is one of the layers that cost most"
                    .to_owned(),
                accuracy_pp: cost.accuracy_pp,
                changed: cost.changed,
                gain_db: cost.gain_db,
                mend: "Leave it in float (`nodes_to_exclude`) or give it more bits.".to_owned(),
                evidence: line(
                    &["sensitivity", &self.reference, &self.candidate],
                    &arguments.choice.words_with_labels(),
                ),
            });
        }
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

/// Whether a cause of this kind is a matter of degree: some of it is normal in any quantized model.
fn is_of_degree(code: &str) -> bool {
    matches!(code, "range-clipped" | "range-extreme" | "zero-point" | "shared-scale" | "computes-otherwise")
}

/// Findings of `lint` that make results wrong on any data.
fn is_fact(rule: &Rule) -> bool {
    let is_wrong = matches!(rule, Rule::Parameters(Reason::PairMismatch | Reason::BiasSaturated));
    is_wrong || (matches!(rule, Rule::Parameters(_)) && rule.level() == Level::Error)
}
