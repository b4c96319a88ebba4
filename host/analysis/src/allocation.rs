//! Which option to take for each of many layers: the multiple-choice knapsack problem.

/// What one option of a layer costs, and what it loses: bytes and divergence, for example; or the other way round, for
/// the least bytes within a divergence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What there is a budget of.
    pub cost: f64,
    /// What should be small.
    pub loss: f64,
}

/// One option for each layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// The index of each layer's option.
    pub choices: Vec<usize>,
    /// The sum of their costs.
    pub cost: f64,
    /// The sum of their losses.
    pub loss: f64,
}

/// The best allocation found, and how good any other may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimum {
    /// The allocation.
    pub allocation: Allocation,
    /// No allocation within the budget has less loss than this: the allocation's own loss if it is proved to be optimal,
    /// as it nearly always is.
    pub loss_bound: f64,
}

/// The most partial allocations that are kept; if there are more, the best of those with similar costs.
const MOST_STATES: usize = 50_000;

/// The allocation of the least loss whose cost is within `budget`; `None` if there is none. Options with a cost or a loss
/// that is not finite are not taken.
///
/// Layer by layer, it keeps the partial allocations that no other beats in both cost and loss, without those that
/// cannot become better than the best known: a lower bound of what the other layers lose is their lower convex hulls
/// filled in the order of their slopes (the linear relaxation). Source: H. Kellerer, U. Pferschy, D. Pisinger, "Knapsack
/// problems", 2004, chapter 11.
pub fn allocate(layers: &[Vec<Choice>], budget: f64) -> Option<Optimum> {
    let layers = Layers::new(layers)?;
    let suffixes: Vec<Relaxation> =
        (0..=layers.options.len()).map(|first| Relaxation::new(&layers, first)).collect();
    let start = suffixes.first()?;
    if budget.is_nan() || start.least_cost > budget {
        return None;
    }
    let mut best = layers.rounded(budget);
    let mut loss_bound = f64::INFINITY;
    let mut states = vec![State { cost: 0.0, loss: 0.0, parent: 0, option: 0 }];
    let mut history: Vec<Vec<State>> = Vec::new();
    for (options, rest) in layers.options.iter().zip(&suffixes[1..]) {
        let mut next = Vec::with_capacity(states.len() * options.len());
        for (parent, state) in states.iter().enumerate() {
            for (option, choice) in options.iter().enumerate() {
                let (cost, loss) = (state.cost + choice.cost, state.loss + choice.loss);
                let bound = loss + rest.bound(budget - cost);
                if bound < best.1 {
                    next.push(State { cost, loss, parent: parent as u32, option: option as u32 });
                }
            }
        }
        keep_undominated(&mut next);
        let dropped = thin(&mut next, |state| state.loss + rest.bound(budget - state.cost));
        loss_bound = loss_bound.min(dropped);
        history.push(std::mem::replace(&mut states, next));
    }
    let last = states.iter().enumerate().min_by(|left, right| left.1.loss.total_cmp(&right.1.loss));
    if let Some(mut index) = last.map(|(index, _)| index) {
        history.push(states);
        let mut picked = vec![0; layers.options.len()];
        for layer in (0..picked.len()).rev() {
            let state = history[layer + 1][index];
            picked[layer] = state.option as usize;
            index = state.parent as usize;
        }
        let found = layers.allocation(&picked);
        if found.loss < best.1 && found.cost <= budget {
            best = (picked, found.loss);
        }
    }
    let allocation = layers.allocation(&best.0);
    Some(Optimum { loss_bound: loss_bound.min(allocation.loss), allocation })
}

/// The allocations on the lower convex hull of all allocations' costs and losses, by ascending cost: each is optimal for
/// its own cost, and every trade of loss for cost at a fixed rate has its best among them. Empty if a layer has no
/// option. Between two of them there may be more that no other beats; [`allocate`] finds these.
pub fn convex_front(layers: &[Vec<Choice>]) -> Vec<Allocation> {
    let Some(layers) = Layers::new(layers) else { return Vec::new() };
    let mut picked: Vec<usize> = layers.hulls.iter().map(|hull| hull[0]).collect();
    let mut front = vec![layers.allocation(&picked)];
    for step in steps(&layers.options, &layers.hulls) {
        picked[step.layer] = step.option;
        front.push(layers.allocation(&picked));
    }
    front
}

#[derive(Clone, Copy)]
struct State {
    cost: f64,
    loss: f64,
    /// Its index among the states of the layers before.
    parent: u32,
    option: u32,
}

/// Sorts by cost and leaves those with less loss than everything cheaper.
fn keep_undominated(states: &mut Vec<State>) {
    states.sort_by(|left, right| left.cost.total_cmp(&right.cost).then(left.loss.total_cmp(&right.loss)));
    let mut least = f64::INFINITY;
    states.retain(|state| {
        let is_better = state.loss < least;
        least = least.min(state.loss);
        is_better
    });
}

/// Leaves at most [`MOST_STATES`], the most promising of each run; returns the least bound of those that it drops.
fn thin(states: &mut Vec<State>, bound: impl Fn(&State) -> f64) -> f64 {
    let run = states.len().div_ceil(MOST_STATES);
    let mut dropped = f64::INFINITY;
    if run > 1 {
        let kept = states.chunks(run).filter_map(|run| {
            let best = *run.iter().min_by(|left, right| bound(left).total_cmp(&bound(right)))?;
            for state in run.iter().filter(|state| state.cost != best.cost) {
                dropped = dropped.min(bound(state));
            }
            Some(best)
        });
        *states = kept.collect();
    }
    dropped
}

/// The layers' options that no other beats, by ascending cost, and of these the ones on the lower convex hull.
struct Layers {
    options: Vec<Vec<Choice>>,
    /// Indices in the lists that were given.
    indices: Vec<Vec<usize>>,
    /// Indices in `options`.
    hulls: Vec<Vec<usize>>,
}

impl Layers {
    /// `None` if a layer has no option.
    fn new(layers: &[Vec<Choice>]) -> Option<Self> {
        let mut found = Self { options: Vec::new(), indices: Vec::new(), hulls: Vec::new() };
        for layer in layers {
            let usable = |index: &usize| layer[*index].cost.is_finite() && layer[*index].loss.is_finite();
            let mut indices: Vec<usize> = (0..layer.len()).filter(usable).collect();
            indices.sort_by(|left, right| {
                let (left, right) = (layer[*left], layer[*right]);
                left.cost.total_cmp(&right.cost).then(left.loss.total_cmp(&right.loss))
            });
            let mut least = f64::INFINITY;
            indices.retain(|index| {
                let is_better = layer[*index].loss < least;
                least = least.min(layer[*index].loss);
                is_better
            });
            let options: Vec<Choice> = indices.iter().map(|index| layer[*index]).collect();
            let mut hull: Vec<usize> = Vec::new();
            for (index, option) in options.iter().enumerate() {
                while let [.., before, last] = hull[..] {
                    if slope(options[before], options[last]) < slope(options[last], *option) {
                        break;
                    }
                    hull.pop();
                }
                hull.push(index);
            }
            hull.first()?;
            found.options.push(options);
            found.indices.push(indices);
            found.hulls.push(hull);
        }
        Some(found)
    }

    /// With these of `options`, summed in the order of the layers.
    fn allocation(&self, picked: &[usize]) -> Allocation {
        let mut allocation = Allocation { choices: Vec::new(), cost: 0.0, loss: 0.0 };
        for ((picked, options), indices) in picked.iter().zip(&self.options).zip(&self.indices) {
            allocation.choices.push(indices[*picked]);
            allocation.cost += options[*picked].cost;
            allocation.loss += options[*picked].loss;
        }
        allocation
    }

    /// The steps of the hulls that fit, the steepest first; and its loss. The cheapest options have to fit.
    fn rounded(&self, budget: f64) -> (Vec<usize>, f64) {
        let mut picked: Vec<usize> = self.hulls.iter().map(|hull| hull[0]).collect();
        let mut cost = self.allocation(&picked).cost;
        for step in steps(&self.options, &self.hulls) {
            let options = &self.options[step.layer];
            let more = options[step.option].cost - options[picked[step.layer]].cost;
            if cost + more <= budget {
                cost += more;
                picked[step.layer] = step.option;
            }
        }
        // Rounding of the sums must not exceed the budget.
        let mut allocation = self.allocation(&picked);
        if allocation.cost > budget {
            picked = self.hulls.iter().map(|hull| hull[0]).collect();
            allocation = self.allocation(&picked);
        }
        (picked, allocation.loss)
    }
}

fn slope(from: Choice, to: Choice) -> f64 {
    (to.loss - from.loss) / (to.cost - from.cost)
}

/// From one option of a hull to the next.
struct Step {
    layer: usize,
    option: usize,
    cost: f64,
    loss: f64,
}

/// All steps of these hulls, the steepest first.
fn steps(options: &[Vec<Choice>], hulls: &[Vec<usize>]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (layer, (options, hull)) in options.iter().zip(hulls).enumerate() {
        steps.extend(hull.windows(2).map(|pair| {
            let (from, to) = (options[pair[0]], options[pair[1]]);
            Step { layer, option: pair[1], cost: to.cost - from.cost, loss: to.loss - from.loss }
        }));
    }
    steps.sort_by(|left, right| (left.loss / left.cost).total_cmp(&(right.loss / right.cost)));
    steps
}

/// The linear relaxation of some layers: their hulls, any part of the last step allowed.
struct Relaxation {
    least_cost: f64,
    /// Without any step.
    most_loss: f64,
    /// Cost and loss of all steps up to each, the steepest first.
    sums: Vec<(f64, f64)>,
}

impl Relaxation {
    /// Of the layers from `first` on.
    fn new(layers: &Layers, first: usize) -> Self {
        let (options, hulls) = (&layers.options[first..], &layers.hulls[first..]);
        let mut sum = (0.0, 0.0);
        let add = |step: Step| {
            sum = (sum.0 + step.cost, sum.1 + step.loss);
            sum
        };
        let sums = steps(options, hulls).into_iter().map(add).collect();
        // The first option of a layer is on its hull.
        let total = |of: fn(&Choice) -> f64| options.iter().map(|options| of(&options[0])).sum();
        Self { least_cost: total(|option| option.cost), most_loss: total(|option| option.loss), sums }
    }

    fn bound(&self, budget: f64) -> f64 {
        let left = budget - self.least_cost;
        if left < 0.0 {
            return f64::INFINITY;
        }
        let whole = self.sums.partition_point(|sum| sum.0 <= left);
        let (cost, loss) = if whole == 0 { (0.0, 0.0) } else { self.sums[whole - 1] };
        let part = match self.sums.get(whole) {
            Some((next_cost, next_loss)) => (left - cost) / (next_cost - cost) * (next_loss - loss),
            None => 0.0,
        };
        self.most_loss + loss + part
    }
}
