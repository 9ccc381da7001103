# Sourced by the programs in bin/: takes their folder off the PATH, so that the real programs are found, and exits with
# a message if the embedded lab isn't running.
here=${0%/*} name=${0##*/} path=
set -f
IFS=:
for folder in $PATH; do
    [ "$folder" = "$here" ] || path=$path${path:+:}$folder
done
unset IFS
set +f
PATH=$path

# A zombie has ended, too, though its parent has not waited for it yet.
{
    read -r pid <"$EKSLAB_HOME/server.lock"
    read -r _ _ state _ <"/proc/$pid/stat" || state=$(ps -o stat= -p "$pid")
} 2>/dev/null
[ -e "$EKSLAB_HOME/lab.json" ] || state=
case $state in
'' | Z*)
    echo "$name: The embedded lab in $EKSLAB_HOME is not running, and what was in it is gone." >&2
    echo "  What to do: Start it with \`${EKSLAB_COMMAND:-python -m ekslab} up\`." >&2
    exit 1
    ;;
esac
if [ "$name" != helm ] && ! command -v "$name" >/dev/null; then
    echo "$name: It is not installed on this computer." >&2
    echo "  What to do: Install it, or do the same in Python, with boto3 or the Kubernetes client." >&2
    exit 127
fi
