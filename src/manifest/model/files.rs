//! Files that belong to records.
//!
//! Read and used as [`super`] says.

use super::{DeclarativeStream, Extractor, Requester, Transformation};
use crate::manifest::node::{Text, component};

component! {
    /// A file for each record. (`file_extractor` is in the vocabulary, and nobody looks at it.)
    FileUploader {
        /// Fetches it.
        requester: Requester,
        /// Where in the record its address stands.
        download_target_extractor: Extractor,
        /// Its name, under that of the stream; any when not said.
        filename_extractor: Option<Text>,
    }
}

impl DeclarativeStream {
    /// May its records hold something that is not the vendor's, such as a secret of the config?
    pub fn mixes_own_values_in(&self) -> bool {
        let added = self.transformations.iter().flatten().filter_map(|one| match one {
            Transformation::AddFields(add) => Some(&add.fields),
            _ => None,
        });
        let own = |value: &Text| value.reads_config() || value.value.to_string().contains("stream_");
        added.flatten().any(|field| own(&field.value))
    }
}
