# The payloads of the manifest: each is fetched, resumed after a break, and put in place once its
# size and sha256 are right. Those that are in place and right are not fetched again.
#
# $GB10_PAYLOADS has a line for each: path, size, sha256, target, mode and the path as in a URL,
# separated by tabs, without control characters in them.
# shellcheck shell=sh
exec "$GB10_ONBOARD" --payloads
