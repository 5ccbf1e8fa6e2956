#!/bin/bash
# rootfs.sh DIR: makes a lab guest of the Debian root in DIR: users, Slurm, its database's account, units.
. "$(dirname "$0")/common.sh"
ROOT=${1:?root folder}
UNITS=$ROOT/etc/systemd/system
# the user `slurm` of Debian's packages
SLURM=64030

default_plugstack=$(cat "$ROOT/etc/slurm/plugstack.conf" 2>/dev/null || true)
cp -a --no-preserve=ownership "$LAB_HOME/image/root/." "$ROOT/"
find "$ROOT/usr/local/sbin" -name 'lab-*' -exec chmod 755 {} +
# Debian's own file is kept where it has the include: what a site would have is what is tested.
if grep -q '^include /etc/slurm/plugstack.conf.d/\*.conf' <<<"$default_plugstack"; then
  printf '%s\n' "$default_plugstack" >"$ROOT/etc/slurm/plugstack.conf"
fi

echo 0123456789abcdef0123456789abcdef >"$ROOT/etc/machine-id"
: >"$ROOT/etc/fstab"
chroot "$ROOT" passwd -d root >/dev/null

add_user() {
  printf '%s:x:%s:%s::/home/%s:/bin/bash\n' "$1" "$2" "$2" "$1" >>"$ROOT/etc/passwd"
  printf '%s:x:%s:\n' "$1" "$2" >>"$ROOT/etc/group"
  printf '%s:*:19000:0:99999:7:::\n' "$1" >>"$ROOT/etc/shadow"
  install -d -m 755 -o "$2" -g "$2" "$ROOT/home/$1"
}
add_user alice 2001
add_user bob 2002
add_user carol 2003
add_user mallory 2004

install -d -o "$SLURM" -g "$SLURM" "$ROOT"/var/lib/slurm "$ROOT"/var/lib/slurm/slurmctld "$ROOT"/var/log/slurm
install -d "$ROOT/host"
chown "$SLURM:$SLURM" "$ROOT/etc/slurm/slurmdbd.conf"
chmod 600 "$ROOT/etc/slurm/slurmdbd.conf"

# Three slurmds in one guest: the package's unit with the node's name, so that each suite starts its own way.
# RuntimeDirectory goes: the first slurmd to stop would remove it under the others.
sed -E -e 's#^(ExecStart=/usr/sbin/slurmd .*)#\1 -N %i#' -e '/^RuntimeDirectory/d' -e '/^PIDFile=/d' \
  "$ROOT/lib/systemd/system/slurmd.service" >"$UNITS/slurmd@.service"
grep -q '^ExecStart=.* -N %i$' "$UNITS/slurmd@.service"

chroot "$ROOT" /usr/sbin/mariadbd --user=mysql --bootstrap <<'SQL'
CREATE DATABASE IF NOT EXISTS slurm_acct_db;
FLUSH PRIVILEGES;
CREATE USER IF NOT EXISTS 'slurm'@'localhost' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost';
CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';
FLUSH PRIVILEGES;
SQL

while read -r unit; do ln -sf /dev/null "$UNITS/$unit"; done < <(grep -v '^#' "$LAB_HOME/image/masked-units")
mkdir -p "$UNITS/multi-user.target.wants" "$UNITS/sysinit.target.wants"
ln -sf ../lab-setup.service "$UNITS/sysinit.target.wants/"
ln -sf ../lab-agent.service "$UNITS/multi-user.target.wants/"
for unit in munge mariadb slurmdbd slurmctld slurmd; do
  ln -sf "/lib/systemd/system/$unit.service" "$UNITS/multi-user.target.wants/$unit.service"
done
for node in n1 n2 n3; do ln -sf ../slurmd@.service "$UNITS/multi-user.target.wants/slurmd@$node.service"; done
