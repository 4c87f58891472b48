//! `H` in a schedule: a value derived from the tenant's name, so that tenants spread out automatically.
//!
//! Input: tenant, tier and field. Output: a number, always the same, on every machine. Called by `cron_expr`.

use sha2::{Digest as _, Sha256};

/// The tenant and tier of an `H`.
#[derive(Debug, Clone, Copy)]
pub struct Hash<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The tier: so an hourly and a daily run of one tenant do not start together.
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

/// Six digits that distinguish names which would otherwise collide.
pub fn mark(parts: &[&str]) -> String {
    digest(parts).iter().take(3).map(|byte| format!("{byte:02x}")).collect()
}

/// Hashes each part with its length first: `a`, `bc` differ from `ab`, `c`.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    sha.finalize().into()
}
