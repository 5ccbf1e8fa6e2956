//! Networks: what BPF programs bind tenants to.

use tenantry_model::TenantPath;
use tenantry_model::tenants::Tenants;

use super::Check;
use crate::doctor::facts::{Binding, Facts};
use crate::doctor::finding::{Verdict, error, note, ok, unseen, warning};
use crate::doctor::machine::Seen;

pub const CHECKS: &[Check] = &[Check {
    id: "vrf-default-route",
    subject: "VRFs that tenants are bound to",
    wanted: "a default route of its own in each VRF's table, IPv4 and IPv6, if only an unreachable one",
    why: "what a VRF's table does not know is looked up in the main one: a bound tenant's packets then leave by the node's own networks",
    fix: "ip route add vrf NAME unreachable default metric 4278198272, and the same with ip -6",
    look: vrf_default_route,
}];

fn vrf_default_route(facts: &Facts) -> Vec<Verdict> {
    let Some(Ok(tenants)) = facts.tenantry.tenants.is() else { return vec![ok("no tenants yet")] };
    let bound: Vec<_> = tenants
        .iter()
        .filter_map(|(path, tenant)| Some((path, tenant.network.bind_to.as_ref()?)))
        .filter_map(|(path, name)| Some((path, name, facts.bindings.get(name)?)))
        .flat_map(|(path, name, binding)| of_tenant(facts.uid, tenants, path, name, binding))
        .collect();
    if bound.is_empty() { vec![ok("none without one")] } else { bound }
}

/// What is not so of one tenant's VRF.
fn of_tenant(
    uid: u32,
    tenants: &Tenants,
    tenant: &TenantPath,
    name: &str,
    binding: &Binding,
) -> Vec<Verdict> {
    let families = match binding {
        Binding::Plain => return Vec::new(),
        Binding::Missing => {
            let found = format!("{name}, which {tenant} is bound to, is not there: its jobs fail");
            return vec![warning(found).fix("make the interface, or correct bind_to")];
        }
        Binding::Vrf { ipv4, ipv6 } => [("", "IPv4", ipv4), ("-6 ", "IPv6", ipv6)],
    };
    let is_guarded = tenant
        .lineage()
        .any(|level| tenants.get(&level).is_some_and(|tenant| tenant.network.interfaces.is_some()));
    let of_family = |(option, family, routes): (&str, &str, &Seen<String>)| match routes {
        Seen::Is(routes) if routes.lines().any(is_default) => None,
        // No such family on this node.
        Seen::Absent => None,
        Seen::Unseen(reason) => Some(unseen(uid, &format!("the {family} routes of {name}: {reason}"))),
        Seen::Is(_) => {
            let found = format!("{name}, which {tenant} is bound to, has no {family} default route");
            let verdict = if is_guarded {
                note(format!("{found}; what leaks is dropped by the tenant's egress guard"))
            } else {
                error(found)
            };
            let fix = format!("ip {option}route add vrf {name} unreachable default metric 4278198272");
            Some(verdict.fix(format!("{fix}, in what makes the VRF")))
        }
    };
    families.into_iter().filter_map(of_family).collect()
}

/// `default via ...`, `unreachable default ...`: with either the lookup ends in this table.
fn is_default(route: &str) -> bool {
    route.split_whitespace().take(2).any(|word| word == "default")
}
