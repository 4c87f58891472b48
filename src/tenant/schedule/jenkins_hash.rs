//! `H` in a schedule: a value of the tenant's own, so that tenants spread out by themselves.
//!
//! Input: tenant, tier and field. Output: a number, the same every time and on every machine. Called by `times`.

use sha2::{Digest as _, Sha256};

/// Whose `H` it is.
#[derive(Debug, Clone, Copy)]
pub struct Hash<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The tier: an hourly and a daily run of one tenant do not begin together either.
    pub tier: &'a str,
}

impl Hash<'_> {
    /// A number below `size` for a field.
    pub fn below(&self, field: &str, size: u32) -> u32 {
        let bytes = digest(&["H", self.tenant, self.tier, field]);
        let number = bytes.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        u32::try_from(number % u64::from(size.max(1))).unwrap_or_default()
    }
}

/// Six digits that tell names apart which would read alike.
pub fn mark(parts: &[&str]) -> String {
    digest(parts).iter().take(3).map(|byte| format!("{byte:02x}")).collect()
}

/// Each part with its length before it: `a`, `bc` are others than `ab`, `c`.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    sha.finalize().into()
}
