#!/bin/sh
# Brings the jars of test/java/pom.xml into DIR/4.9.7, DIR/4.9.8 and DIR/5.3.3.
# DIR is RMQ_JAVA_LIBS, or the cache folder where the tests look by default.
# A folder that is complete is left alone, so calling this again costs nothing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
libs=${RMQ_JAVA_LIBS:-${XDG_CACHE_HOME:-$HOME/.cache}/rmqctl-java}
for tool in java javac mvn; do
	command -v $tool >/dev/null && continue
	echo "the Java peers are not fetched: no $tool on this machine (Debian: apt-get install maven openjdk-17-jdk-headless)"
	[ "${CI:-}" != true ] || exit 1
	exit 0
done
mkdir -p "$libs"

bring() { # PROFILE VERSION
	[ -f "$libs/$2/.complete" ] && return
	echo "bringing Java RocketMQ $2 into $libs/$2"
	rm -rf "$libs/$2"
	mvn -q -B -f "$here/pom.xml" -P "$1" dependency:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory="$libs/$2"
	touch "$libs/$2/.complete"
}

bring servers-4.9.7 4.9.7
bring clients-4.9.8 4.9.8
bring all-5.3.3 5.3.3
