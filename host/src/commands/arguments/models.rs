//! Several models, compared with one of them.

use crate::error::Result;

/// Several models, and the reference among them.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::commands) struct Models {
    /// The models; without any, the current one
    #[arg(value_name = "MODEL")]
    names: Vec<String>,
    /// The model to compare the others with; without it, the first of several
    #[arg(long, value_name = "MODEL")]
    reference: Option<String>,
}

impl Models {
    /// What `load` makes of each name, `None` for the current model, and the place of the reference. A reference that is not one of
    /// the models, judging by their ids, comes first.
    ///
    /// # Errors
    /// Those of `load`.
    pub(in crate::commands) fn load<T>(
        &self,
        mut load: impl FnMut(Option<&str>) -> Result<T>,
        id: impl Fn(&T) -> &str,
    ) -> Result<(Vec<T>, Option<usize>)> {
        let mut models: Vec<T> = match &self.names[..] {
            [] => vec![load(None)?],
            names => names.iter().map(|name| load(Some(name))).collect::<Result<_>>()?,
        };
        let Some(name) = &self.reference else {
            let reference = (models.len() > 1).then_some(0);
            return Ok((models, reference));
        };
        let reference = load(Some(name))?;
        let place = models.iter().position(|model| id(model) == id(&reference));
        if place.is_none() {
            models.insert(0, reference);
        }
        Ok((models, Some(place.unwrap_or(0))))
    }
}
