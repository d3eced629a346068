#!/bin/sh
# Classify image files with curl: sh classify.sh IMAGE...
set -eu

gateway=${IMAGE_GATEWAY_URL:-http://localhost:8080}
response=$(mktemp)
trap 'rm -f "$response"' EXIT

# curl reads the key from its standard input: arguments are visible to other users of the machine.
send() {
  if [ -n "${IMAGE_GATEWAY_API_KEY:-}" ]; then
    printf 'header = "Authorization: Bearer %s"\n' "$IMAGE_GATEWAY_API_KEY"
  fi | curl --config - --silent --show-error --max-time 30 --retry 3 --output "$response" --write-out '%{http_code}' \
    --header 'Content-Type: application/octet-stream' --data-binary "@$1" "$gateway/api/v1/predict?top_k=1"
}

# Print the first value of a member of the response.
member() {
  grep -oE "\"$1\": *(\"([^\"\\\\]|\\\\.)*\"|[0-9.e-]+)" "$response" | head -n 1 | sed 's/^[^:]*: *//; s/^"//; s/"$//'
}

failures=0
for image in "$@"; do
  status=$(send "$image") || { failures=1; continue; }
  if [ "$status" = 200 ]; then
    printf '%s: %s %.3f\n' "$image" "$(member label)" "$(member score)"
  else
    printf '%s: %s: %s\n' "$image" "$(member title)" "$(member detail)" >&2
    failures=1
  fi
done
exit "$failures"
