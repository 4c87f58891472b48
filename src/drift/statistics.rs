//! Statistics: what chance can explain, and what it cannot.
//!
//! Input: counts. Output: bounds of a share, and whether a count is a surprise. Pure; called by [`super::monitor`].
//! With the bound of 1e-6 and the score of 3.09, rare fields cause no false findings (docs/src/drift.md).

/// The z-score of a share's bounds: one in a thousand is outside on each side.
const Z: f64 = 3.09;
/// A less likely event is not chance.
const SURPRISE: f64 = 1e-6;
/// A less likely event confirms an earlier surprise.
const ODD: f64 = 1e-3;

/// The Wilson bounds of a share, from `hits` in a sample of `n`.
#[allow(clippy::cast_precision_loss)]
pub fn bounds(hits: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (n as f64, hits.min(n) as f64 / n as f64);
    let z2 = Z * Z;
    let middle = p + z2 / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let whole = 1.0 + z2 / n;
    (((middle - spread) / whole).clamp(0.0, 1.0), ((middle + spread) / whole).clamp(0.0, 1.0))
}

/// Something was seen `hits` times in `n` and is missing in `absent` more: is that beyond chance?
pub fn is_gone(hits: u64, n: u64, absent: u64) -> bool {
    is_missing(hits, n, absent, SURPRISE)
}

/// Is its absence at least unusual, as in one of a thousand cases?
pub fn is_odd(hits: u64, n: u64, absent: u64) -> bool {
    is_missing(hits, n, absent, ODD)
}

fn is_missing(hits: u64, n: u64, absent: u64, likely: f64) -> bool {
    let (low, _) = bounds(hits, n);
    #[allow(clippy::cast_precision_loss)]
    let log = absent as f64 * (1.0 - low).ln();
    low > 0.0 && log <= likely.ln()
}

/// Is it beyond chance that something with a share of at most `share` is seen `hits` times in `n`? Uses the Chernoff
/// bound.
pub fn is_surprise(hits: u64, n: u64, share: f64) -> bool {
    if hits == 0 || n == 0 {
        return false;
    }
    #[allow(clippy::cast_precision_loss)]
    let (n, q) = (n as f64, (hits as f64 / n as f64).min(1.0));
    let p = share.clamp(1e-9, 1.0 - 1e-9);
    if q <= p {
        return false;
    }
    let rest = if q < 1.0 { (1.0 - q) * ((1.0 - q) / (1.0 - p)).ln() } else { 0.0 };
    -n * (q * (q / p).ln() + rest) <= SURPRISE.ln()
}
