//! Changes inputs a little, again and again, from a seed: the same seed gives the same inputs.
//!
//! Comes in: a corpus. Goes out: inputs that are near to valid ones, which get further into a parser than noise does.

/// Parts that parsers treat in special ways, and numbers and times at the ends of their ranges.
const DICTIONARY: &[&str] = &[
    "0",
    "-1",
    "1e400",
    "-0",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "4294967296",
    "1.5e-9223372036854775808",
    "1e9223372036854775807",
    "NaN",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+23:59",
    "10000-01-01T00:00:00Z",
    "P99999999999Y",
    "PT0S",
    "-P1D",
    "P2147483647M",
    "PT4294967296H",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "[[[[[[[[",
    "{\"a\":",
    "\\ud800",
    "\\u0000",
    "\u{feff}",
    "\u{202e}",
    "é",
    "🦀",
    "\0",
    "\r\n",
    "\n",
    "\t",
    "'",
    "\"",
    "`",
    "&a",
    "*a",
    "!!int",
    "<<",
    "|",
    ">",
    "---",
    "%",
    "%z",
    "%s",
    "%_ms",
    "%f",
    "%Y",
    "{{",
    "}}",
    "{%",
    "%}",
    "| map('x')",
    "| replace('a', 'b')",
    "| join",
    "| tojson",
    "[0]",
    "[-1]",
    ".x",
    "** 9",
    "* 99999",
    "// 0",
    "% 0",
    "range(9)",
    "<![CDATA[",
    "&amp;",
    "<a>",
    "</a>",
    "<!--",
    "<!DOCTYPE a>",
    "xmlns:a='b'",
    ",",
    ";",
    "\"\"\"",
    "$ref",
    "#/",
    "type",
    "items",
    "properties",
    "oneOf",
    "updated_at",
    "cursor",
    "states",
    "slices",
    "partition",
    "format",
    "date-time",
    "*",
    "**",
    "..",
    "/",
    "~1",
];

/// Inputs from a corpus.
pub struct Mutator {
    state: u64,
    corpus: Vec<Vec<u8>>,
}

/// The longest input, in bytes: longer ones only take longer.
const LONGEST: usize = 64 << 10;

impl Mutator {
    pub fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Mutator {
        assert!(!corpus.is_empty());
        Mutator { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, corpus }
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let start = self.below(self.corpus.len());
        let mut input = self.corpus[start].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (at, other) = (self.below(input.len() + 1), self.below(self.corpus.len()));
        let end = (at + 1 + self.below(24)).min(input.len());
        match self.below(8) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 => drop(input.drain(at.min(end)..end)),
            2 => {
                let part = input[at.min(end)..end].repeat(1 + self.below(40));
                input.splice(at..at, part);
            }
            3 => {
                let other = &self.corpus[other];
                let (len, from) = (other.len(), at.min(other.len()));
                input.splice(at..end.max(at), other[from..len.min(from + 200)].to_vec());
            }
            // A whole value gives way: what stands between two of the characters that part values.
            4 | 5 => {
                let parts = |byte: &u8| b",:{}[]\"' \n=|<>".contains(byte);
                let stop = input[at..].iter().position(parts).map_or(input.len(), |found| at + found);
                let word = DICTIONARY[self.below(DICTIONARY.len())];
                input.splice(at..stop, word.bytes());
            }
            _ => {
                let word = DICTIONARY[self.below(DICTIONARY.len())];
                input.splice(at..at, word.bytes());
            }
        }
    }
}
