//! The tenants file, applied to the tenants that have a group here.

use tenantry_cgroup::tenant;
use tenantry_model::TenantPath;
use tenantry_model::tenants::{self, Limits};

use crate::{Error, Site, scope};

/// Sets every limit of every tenant that has a group here, where it differs. What Slurm wrote to
/// its jobs is not touched.
///
/// # Errors
/// Where there is no good tenants file, or the kernel refuses.
pub fn apply(site: &Site) -> Result<(), Error> {
    let (tenants, _) = tenants::in_force(&site.paths)?;
    let limits_of =
        |level: &TenantPath| tenants.get(level).map_or_else(Limits::default, |tenant| tenant.limits);
    for scope in scope::all(&site.root)? {
        for (path, _) in tenants.iter() {
            if site.root.exists(&tenant::group(&scope, path)?)? {
                tenant::ensure(&site.root, &scope, path, limits_of)?;
            }
        }
    }
    Ok(())
}
