//! Who pays: a pure function of signed facts and the tenants file.

use tenantry_model::ids::InvalidId;
use tenantry_model::tenants::{NoTenant, Tenants};
use tenantry_model::{AccountName, TenantPath};

use crate::facts::Facts;

/// Why a job has no tenant. The text is for its owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The account's name is one this system does not accept.
    #[error("{0}; ask your site's administrator to rename the account")]
    OddAccount(#[from] InvalidId),
    /// Slurm named no account, and unclaimed accounts have no tenant.
    #[error("the job has no account, and jobs without one have no tenant here; submit with --account=NAME")]
    NoAccount,
    /// No tenant claims the account.
    #[error(transparent)]
    NoTenant(#[from] NoTenant),
}

/// The tenant that pays for a job.
///
/// # Errors
/// [`Refusal`], where there is none.
pub fn place<'t>(facts: &Facts, tenants: &'t Tenants) -> Result<&'t TenantPath, Refusal> {
    match facts.account.as_deref() {
        None | Some("") => tenants.default_tenant().ok_or(Refusal::NoAccount),
        Some(account) => Ok(tenants.claimant(&account.parse::<AccountName>()?)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: &str =
        "[tenants.acme]\naccounts = ['acme', 'a-*']\n[tenants.'acme/physics']\naccounts = ['physics']\n";
    const LENIENT: &str =
        "[policy]\nunclaimed_accounts = 'default'\n[tenants.default]\n[tenants.acme]\naccounts = ['acme']\n";

    fn placed(file: &str, account: Option<&str>) -> String {
        let tenants = Tenants::parse("tenants.toml".as_ref(), file).unwrap();
        let facts = Facts::new(7, 1, 1, |name| match name {
            "SLURMD_NODENAME" => Some("n1".into()),
            "SLURM_JOB_ACCOUNT" => account.map(Into::into),
            _ => None,
        });
        match place(&facts.unwrap(), &tenants) {
            Ok(tenant) => tenant.to_string(),
            Err(Refusal::OddAccount(_)) => "odd".into(),
            Err(Refusal::NoAccount) => "no account".into(),
            Err(Refusal::NoTenant(_)) => "no tenant".into(),
        }
    }

    #[test]
    fn the_account_decides_and_nothing_else() {
        let long = "x".repeat(300);
        let table = [
            (STRICT, Some("acme"), "acme"),
            (STRICT, Some("a-1"), "acme"),
            (STRICT, Some("physics"), "acme/physics"),
            (STRICT, Some("globex"), "no tenant"),
            (STRICT, None, "no account"),
            (STRICT, Some(""), "no account"),
            (STRICT, Some("../x"), "odd"),
            (STRICT, Some("acme\n"), "odd"),
            (STRICT, Some("ac'me\""), "odd"),
            (STRICT, Some(&long), "odd"),
            (LENIENT, Some("globex"), "default"),
            (LENIENT, None, "default"),
            (LENIENT, Some("../x"), "odd"),
        ];
        for (file, account, expected) in table {
            assert_eq!(placed(file, account), expected, "{account:?}");
        }
    }
}
