//! Decoders: how bytes become records' JSON.
//!
//! Read and used as [`super`] says.

use crate::manifest::node::{choice, component};

choice! {
    /// What the body of an answer is.
    Decoder {
        JsonDecoder, JsonlDecoder, JsonItemsDecoder, CsvDecoder, XmlDecoder, IterableDecoder, GzipDecoder,
        ZipfileDecoder,
    } later {}
}

component! {
    /// A JSON value a line.
    JsonlDecoder {}
}

component! {
    /// The elements of one list in a large JSON document.
    JsonItemsDecoder {
        /// Where it stands, with dots between.
        items_path: String,
        /// How bytes are text.
        encoding: Option<String>,
    }
}

component! {
    /// A table with names in its first row.
    CsvDecoder {
        /// How bytes are text.
        encoding: Option<String>,
        /// What stands between values.
        delimiter: Option<String>,
        /// Values that mean null.
        set_values_to_none: Option<Vec<String>>,
    }
}

component! {
    /// A body of XML.
    XmlDecoder {}
}

component! {
    /// A text a line.
    IterableDecoder {}
}

component! {
    /// Compressed or not.
    GzipDecoder {
        /// What is inside.
        decoder: Box<Decoder>,
    }
}

component! {
    /// An archive of files.
    ZipfileDecoder {
        /// What each of them is.
        decoder: Box<Decoder>,
    }
}

component! {
    /// A body of JSON.
    JsonDecoder {}
}
