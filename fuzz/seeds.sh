#!/bin/sh
# Writes the seed corpora from the recorded exchanges in crates/wire/tests/captures: one file per
# packet, named seed-<server>-<client>-<line>. Needs xxd.
set -eu
cd "$(dirname "$0")"
mkdir -p corpus/arp corpus/dhcpv4 corpus/ipv4_udp

for capture in ../crates/wire/tests/captures/*.hex; do
    name=seed-$(basename "$capture" .hex)
    line=0
    while read -r kind digits; do
        line=$((line + 1))
        case $kind in
        arp)
            printf %s "$digits" | xxd -r -p >"corpus/arp/$name-$line"
            ;;
        ipv4)
            printf %s "$digits" | xxd -r -p >"corpus/ipv4_udp/$name-$line"
            # Behind 20 bytes of IPv4 and 8 bytes of UDP lies the message.
            tail -c +29 "corpus/ipv4_udp/$name-$line" >"corpus/dhcpv4/$name-$line"
            ;;
        esac
    done <"$capture"
done
