# For the programs in bin/: leaves a PATH without them, on which the real ones are, if the embedded lab is running; else
# says what to do, and ends.
here=${0%/*} name=${0##*/} path=
set -f
IFS=:
for folder in $PATH; do
    [ "$folder" = "$here" ] || path=$path${path:+:}$folder
done
unset IFS
set +f
PATH=$path

{ read -r pid <"$LABKIT_HOME/server.lock"; } 2>/dev/null
if ! { [ -e "$LABKIT_HOME/lab.json" ] && kill -0 "$pid"; } 2>/dev/null; then
    echo "$name: The embedded lab in $LABKIT_HOME is not running, and what was in it is gone." >&2
    echo "  What to do: Start it with \`labkit up\`." >&2
    exit 1
fi
if [ "$name" != helm ] && ! command -v "$name" >/dev/null; then
    echo "$name: It is not installed on this computer." >&2
    echo "  What to do: Install it, or do the same in a notebook: lab.kube, lab.aws.client(...)." >&2
    exit 127
fi
