#!/bin/sh
# Keeps the folder MODELS_TARGET as MODELS_SOURCE is, a remote of rclone's that holds NAME/VERSION.tar for each version of
# each model. An object appears whole or not at all, and so does a version here: it is unpacked under a name that is no
# number, then renamed. A version whose object is gone goes too, but never the last ones of a model.
# Looks every SYNC_INTERVAL_S seconds; the first time that went well leaves the file SYNCED.
set -u

listing=$(mktemp)

fetch() { # NAME/VERSION
  incoming=$MODELS_TARGET/${1%/*}/incoming
  rm -rf "$incoming" && mkdir -p "$incoming" &&
    rclone cat "$MODELS_SOURCE/$1.tar" | tar -x -f - -C "$incoming" &&
    [ -e "$incoming/saved_model.pb" ] && mv "$incoming" "$MODELS_TARGET/$1" && echo "fetched $1" && return
  echo "not fetched: $1 (is saved_model.pb at the top of the archive?)" >&2
  return 1
}

remove() { # NAME/VERSION
  mv "$MODELS_TARGET/$1" "$MODELS_TARGET/${1%/*}/outgoing" && rm -rf "$MODELS_TARGET/${1%/*}/outgoing" && echo "removed $1"
}

sync_once() {
  rclone lsf --recursive --files-only "$MODELS_SOURCE" >"$listing" || return 1
  versions=$(sed -n 's#^\([^/]*/[0-9][0-9]*\)\.tar$#\1#p' "$listing")
  [ -n "$versions" ] || return 1
  complete=0
  for version in $versions; do
    [ -d "$MODELS_TARGET/$version" ] || fetch "$version" || complete=1
  done
  for folder in "$MODELS_TARGET"/*/[0-9]*; do
    version=${folder#"$MODELS_TARGET"/}
    grep -q "^${version%/*}/[0-9]*\.tar$" "$listing" || continue
    grep -qxF "$version.tar" "$listing" || remove "$version"
  done
  return $complete
}

while :; do
  sync_once && touch "$SYNCED"
  sleep "$SYNC_INTERVAL_S"
done
