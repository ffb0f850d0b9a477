//! Groups: certificates and removals that merge as a set, and the trust that follows from them (`docs/trust.md` §7).

mod errors;
mod mine;
#[cfg(test)]
mod properties;
mod rekey;
mod requests;
mod set;
mod signing;
mod standing;
#[cfg(test)]
mod tests;
mod token;

pub use errors::GroupError;
pub use mine::{Group, Groups, HeldInvitation, Origin};
pub use set::{GroupSet, Merged};
pub use signing::GroupTerms;
pub use token::GroupToken;
