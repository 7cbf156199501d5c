#!/bin/sh
# Makes the host key once (it lies in a volume, so that clients may pin it), takes the authorised keys from a secret.
set -eu
key=/etc/ssh/keys/ssh_host_ed25519_key
[ -f "$key" ] || ssh-keygen -q -t ed25519 -N '' -f "$key"
install -m 0644 /run/secrets/sftp_authorized_keys /etc/ssh/authorized_keys
# A chroot must be root's; what partners write goes below it.
install -d -o partner -g sftp -m 0750 /srv/sftp/files
echo "Host key to pin: $(cat "$key.pub")"
# useradd leaves the account locked, and without PAM sshd refuses a locked one; '*' is no password either.
usermod -p '*' partner
exec /usr/sbin/sshd -D -e
