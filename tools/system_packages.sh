#!/bin/sh
# Names the system packages that are missing, or installs them when run as root on Debian or Ubuntu.
set -eu
missing=""
need() { missing="$missing $1"; }
command -v g++ >/dev/null 2>&1 || need g++
command -v git >/dev/null 2>&1 || need git
"${PYTHON:-python3}" -c 'import ensurepip, venv' >/dev/null 2>&1 || need python3-venv
ldconfig -p 2>/dev/null | grep -q 'libusb-1\.0\.so\.0' || need libusb-1.0-0
for package in "$@"; do  # further packages, named by the caller
  dpkg -s "$package" >/dev/null 2>&1 || command -v "$package" >/dev/null 2>&1 || need "$package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing system packages:$missing"
  log=$(mktemp)
  # shellcheck disable=SC2086
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } \
      >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    exit 1
  fi
  rm -f "$log"
else
  echo "missing system packages, install them first: sudo apt-get install$missing" >&2
  exit 1
fi
