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

# A zombie, which nobody has waited for, has ended too.
{
    read -r pid <"$LABKIT_HOME/server.lock"
    read -r _ _ state _ <"/proc/$pid/stat" || state=$(ps -o stat= -p "$pid")
} 2>/dev/null
[ -e "$LABKIT_HOME/lab.json" ] || state=
case $state in
'' | Z*)
    echo "$name: The embedded lab in $LABKIT_HOME is not running, and what was in it is gone." >&2
    echo "  What to do: Start it with \`labkit up\`." >&2
    exit 1
    ;;
esac
if [ "$name" != helm ] && ! command -v "$name" >/dev/null; then
    echo "$name: It is not installed on this computer." >&2
    echo "  What to do: Install it, or do the same in a notebook: lab.kube, lab.aws.client(...)." >&2
    exit 127
fi
