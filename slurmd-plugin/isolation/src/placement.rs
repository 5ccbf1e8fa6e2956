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
    /// `--tenant` names none.
    #[error(
        "--tenant={0:?} names no tenant here; leave it out, or ask your site's administrator for the name"
    )]
    NoSuchTenant(String),
    /// `--tenant` names one that the user may not choose.
    #[error(
        "--tenant={tenant} is not yours to choose; leave it out, or ask your site's administrator to add \
         you to its users"
    )]
    NotAMember {
        /// The tenant.
        tenant: TenantPath,
    },
}

/// A user as the node knows him: asked for only where he chose a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// His name; `None` where the node knows none.
    pub user: Option<String>,
    /// The names of his groups.
    pub groups: Vec<String>,
}

/// The tenant that pays for a job: the account's, unless the user chose another one that he is a
/// member of.
///
/// # Errors
/// [`Refusal`], where there is none.
pub fn place<'t>(
    facts: &Facts,
    tenants: &'t Tenants,
    member: impl FnOnce() -> Member,
) -> Result<&'t TenantPath, Refusal> {
    let by_account = match facts.account.as_deref() {
        None | Some("") => tenants.default_tenant().ok_or(Refusal::NoAccount),
        // A name this system does not accept is refused whatever was chosen.
        Some(account) => {
            let account = account.parse::<AccountName>()?;
            tenants.claimant(&account).map_err(Refusal::from)
        }
    };
    let Some(requested) = &facts.requested else { return by_account };
    let no_such_tenant = || Refusal::NoSuchTenant(requested.clone());
    let wanted: TenantPath = requested.parse().map_err(|_| no_such_tenant())?;
    let (tenant, _) = tenants.iter().find(|(path, _)| **path == wanted).ok_or_else(no_such_tenant)?;
    if by_account.is_ok_and(|own| own == tenant) {
        return Ok(tenant);
    }
    let Member { user, groups } = member();
    if tenants.may_choose(tenant, user.as_deref().unwrap_or_default(), &groups) {
        Ok(tenant)
    } else {
        Err(Refusal::NotAMember { tenant: wanted })
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
        let facts = Facts::new(7, 1, 1, None, |name| match name {
            "SLURMD_NODENAME" => Some("n1".into()),
            "SLURM_JOB_ACCOUNT" => account.map(Into::into),
            _ => None,
        });
        said(&place(&facts.unwrap(), &tenants, || unreachable!("nobody chose a tenant")))
    }

    fn said(placed: &Result<&TenantPath, Refusal>) -> String {
        match placed {
            Ok(tenant) => tenant.to_string(),
            Err(Refusal::OddAccount(_)) => "odd".into(),
            Err(Refusal::NoAccount) => "no account".into(),
            Err(Refusal::NoTenant(_)) => "no tenant".into(),
            Err(Refusal::NoSuchTenant(_)) => "no such tenant".into(),
            Err(Refusal::NotAMember { .. }) => "not a member".into(),
        }
    }

    #[test]
    fn a_tenant_is_chosen_by_its_members_only() {
        let file = "[tenants.acme]\naccounts = ['acme']\nusers = ['alice']\n\
                    [tenants.'acme/physics']\naccounts = ['physics']\ngroups = ['lab']\n";
        let tenants = Tenants::parse("tenants.toml".as_ref(), file).unwrap();
        let chosen = |account: Option<&str>, wish: &str, user: &str, group: &str| {
            let facts = Facts::new(7, 1, 1, Some(wish.into()), |name| match name {
                "SLURMD_NODENAME" => Some("n1".into()),
                "SLURM_JOB_ACCOUNT" => account.map(Into::into),
                _ => None,
            });
            let member = || Member { user: Some(user.into()), groups: vec![group.into()] };
            said(&place(&facts.unwrap(), &tenants, member))
        };
        let table = [
            (Some("physics"), "acme", "alice", "", "acme"),
            (Some("physics"), "acme/physics", "mallory", "", "acme/physics"),
            (Some("acme"), "acme/physics", "bob", "lab", "acme/physics"),
            (Some("acme"), "acme/physics", "alice", "", "not a member"),
            (Some("physics"), "acme", "bob", "lab", "not a member"),
            (Some("unclaimed"), "acme", "alice", "", "acme"),
            (Some("unclaimed"), "acme", "mallory", "", "not a member"),
            (None, "acme", "alice", "", "acme"),
            (Some("../x"), "acme", "alice", "", "odd"),
            (Some("acme"), "globex", "alice", "", "no such tenant"),
            (Some("acme"), "../x", "alice", "", "no such tenant"),
            (Some("acme"), "", "alice", "", "no such tenant"),
            (Some("physics"), "acme", "", "", "not a member"),
        ];
        for (account, wish, user, group, expected) in table {
            assert_eq!(chosen(account, wish, user, group), expected, "{account:?} --tenant={wish} by {user}");
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
