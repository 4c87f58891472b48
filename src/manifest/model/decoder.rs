//! Decoders: convert response bodies to JSON.
//!
//! See [`super`] for how definitions are read and used.

use crate::manifest::node::{choice, component};

choice! {
    /// The format of a response body.
    Decoder {
        JsonDecoder, JsonlDecoder, JsonItemsDecoder, CsvDecoder, XmlDecoder, IterableDecoder, GzipDecoder,
        ZipfileDecoder,
    } later {}
}

component! {
    /// JSON Lines: one JSON value per line.
    JsonlDecoder {}
}

component! {
    /// The elements of one list in a large JSON document.
    JsonItemsDecoder {
        /// The path of the list, with dots.
        items_path: String,
        /// The text encoding.
        encoding: Option<String>,
    }
}

component! {
    /// CSV: a table with names in its first row.
    CsvDecoder {
        /// The text encoding.
        encoding: Option<String>,
        /// The separator of values.
        delimiter: Option<String>,
        /// Values that mean null.
        set_values_to_none: Option<Vec<String>>,
    }
}

component! {
    /// XML.
    XmlDecoder {}
}

component! {
    /// One text per line.
    IterableDecoder {}
}

component! {
    /// Gzip, compressed or not.
    GzipDecoder {
        /// The format of the content.
        decoder: Box<Decoder>,
    }
}

component! {
    /// A ZIP archive of files.
    ZipfileDecoder {
        /// The format of each file.
        decoder: Box<Decoder>,
    }
}

component! {
    /// JSON.
    JsonDecoder {}
}
