//! Copies a built-in source.
//!
//! Input: its name. Output: its manifest with its comments, its schemas as files beside it, and a config for it. Called
//! by `cli::init`.

use super::config::NewConfig;
use super::{SCHEMAS, Scaffold};
use crate::base::fault::{Fault, Kind, Result, did_you_mean};
use crate::manifest::{Manifest, builtin};

/// The files of a source like a built-in one.
pub(crate) fn scaffold(name: &str, source: &str) -> Result<Scaffold> {
    let Some(text) = builtin::manifest(source) else {
        let fault = Fault::new(Kind::Usage, format!("there is no built-in source `{source}`"));
        return Err(match did_you_mean(source, builtin::names()) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint(format!("the built-in sources are {}", builtin::names().join(", "))),
        });
    };
    let manifest = Manifest::from_yaml(text, &format!("catalog/{source}.yaml"), source, None)?;
    let schema = manifest.source.spec.as_ref().map(|spec| spec.connection_specification.clone()).unwrap_or_default();
    let config = NewConfig::of_specification(name, &schema);
    let head = format!("# {name}: started from the built-in source `{source}`.\n#\n");
    let schemas = builtin::schemas(source);
    Ok(Scaffold {
        manifest: format!("{head}{text}"),
        config: config.json(),
        env_example: config.env_example(name),
        open_keys: config.open_keys(),
        schemas: schemas.into_iter().map(|(file, text)| (format!("{SCHEMAS}/{file}"), text.to_owned())).collect(),
    })
}
