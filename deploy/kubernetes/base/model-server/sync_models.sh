#!/bin/sh
# Mirrors MODELS_SOURCE, an rclone remote with NAME/VERSION.tar for each version of each model, to the folder
# MODELS_TARGET. Objects appear atomically, and so do versions here: each is unpacked under a name that is not a number,
# then renamed. A version without an object is removed, unless its model has no objects at all.
# Checks every SYNC_INTERVAL_S seconds; the first successful run creates the file SYNCED.
set -u

listing=$(mktemp)

fetch() { # NAME/VERSION
  incoming=$MODELS_TARGET/${1%/*}/incoming
  rm -rf "$incoming" && mkdir -p "$incoming" &&
    rclone cat "$MODELS_SOURCE/$1.tar" | tar -x -f - -C "$incoming" &&
    { [ -e "$incoming/saved_model.pb" ] || [ -e "$incoming/model.tflite" ]; } && mv "$incoming" "$MODELS_TARGET/$1" && echo "fetched $1" && return
  echo "not fetched: $1 (saved_model.pb or model.tflite must be at the top level of the archive)" >&2
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
