#!/usr/bin/env bash
# What the k8s-… targets of the Makefile do: k8s.sh ns|secret|deploy|test|backup|logs|pvc|status|download|list|restore|clean
# Needs kubectl and helm, and takes the current context.
#
#   NAMESPACE, RELEASE  where
#   IMAGE, IMAGE_TAG    deploy: the image, where it is not that of the values
#   VALUES              deploy: a values file; without it the release keeps its values
#   ENV_FILE, SECRET    secret: the secrets of this environment file; the Secret's name, where it is not the release's
#   CLUSTER             which server of a release that has several (an entry of `clusters`)
#   BACKUP, DATABASE    download, restore: which backup (latest), and of or into which database
#   FROM, ARGS, APP     restore: database of the backup, more arguments, what is scaled down meanwhile
#   OUTPUT              download: folder
#   DELETE_DATA=yes     clean: the volume too
#   START_TIMEOUT       seconds that a pod may take to start, and an application to stop (300)
set -euo pipefail
chart=$(cd "$(dirname "$0")" && pwd)/postgres-backup
: "${NAMESPACE:?}" "${RELEASE:?}"
BACKUP=${BACKUP:-latest}
START_TIMEOUT=${START_TIMEOUT:-300}

say() { echo "$*" >&2; }
die() {
    say "$1"
    exit "${2:-64}"
}
kube() { kubectl --namespace "$NAMESPACE" "$@"; }
# Six characters that make a Job's name one that is not taken. An Indexed Job's pods have the name, a dash and their index
# as their host's name, which may have 63 characters.
unique() { printf '%06x' $((RANDOM * 512 + RANDOM % 512)); }

# quoted TEXT: as a JSON string
quoted() {
    local text=${1//\\/\\\\}
    [[ $text != *[[:cntrl:]]* ]] || die "a name with a control character cannot be given here"
    echo "\"${text//\"/\\\"}\""
}

# json WORD…: the words as a JSON array
json() {
    local word list=''
    for word in "$@"; do list+="${list:+, }$(quoted "$word")"; done
    echo "[$list]"
}

# The chart's name for the release, where the values do not say another one
fullname() {
    local name=$RELEASE
    [[ $name = *postgres-backup* ]] || name=$name-postgres-backup
    if ((${#name} > 45)); then
        name=$(sed -E 's/^-+|-+$//g' <<<"${name:0:38}")-$(printf %s "$name" | sha256 | cut -c 1-6)
    fi
    echo "$name"
}
sha256() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

selector() { echo "app.kubernetes.io/instance=$RELEASE${1:+,app.kubernetes.io/component=$1}${CLUSTER:+,postgres-backup/cluster=$CLUSTER}"; }

# sets `cronjob` to the one that makes backups
find_cronjob() {
    cronjob=$(kube get cronjobs --selector "$(selector backup)" --output 'jsonpath={.items[*].metadata.name}')
    case $cronjob in
        '') die "there is no CronJob of the release $RELEASE in $NAMESPACE${CLUSTER:+ for CLUSTER=$CLUSTER}; make k8s-deploy makes one" ;;
        *' '*) die "the release $RELEASE has several servers; say which with CLUSTER=: $(kube get cronjobs --selector "$(selector backup)" \
            --output 'jsonpath={.items[*].metadata.labels.postgres-backup/cluster}')" ;;
    esac
}

# like_cronjob NAME [PATCH]: a Job like those of the CronJob
like_cronjob() {
    kube create job "$1" --from="cronjob/$cronjob" --dry-run=client --output json |
        kubectl patch --local --type=strategic --filename - --patch "${2:-"{}"}" --output json |
        kube create --filename - --output name >/dev/null
}

# A patch for a Job that only looks: one pod, no retry, nobody's success, and these fields of the container
looking() {
    cat <<J
{"metadata": {"ownerReferences": null, "labels": {"app.kubernetes.io/component": "look"}},
 "spec": {"completionMode": "NonIndexed", "completions": 1, "parallelism": 1, "backoffLimit": 0,
          "backoffLimitPerIndex": null, "podFailurePolicy": null, "ttlSecondsAfterFinished": null, "template": {
   "metadata": {"labels": {"app.kubernetes.io/component": "look"}},
   "spec": {"containers": [{"name": "backup", $1,
     "env": [{"name": "SHARD_COUNT", "\$patch": "delete"}, {"name": "LOG_LEVEL", "value": "warn"}]}]
     ${2:-}}}}}
J
}

# What ends with this script. Signals end it at once, also while it waits for kubectl.
endings=() child=''
at_end() {
    local code=$? ending
    trap - EXIT INT TERM
    trap '' INT TERM
    [[ -z $child ]] || kill "$child" 2>/dev/null || true
    for ending in ${endings[@]+"${endings[@]}"}; do $ending || true; done
    exit "$code"
}
trap at_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# in_background COMMAND…: so that a signal need not wait for its end
in_background() {
    "$@" &
    child=$!
    wait "$child"
}

# await_start POD: until its container has begun, or says why it does not; fails when the pod is gone
await_start() {
    local state told='' deadline=$((SECONDS + START_TIMEOUT))
    while :; do
        state=$(kube get "$1" --ignore-not-found --output 'jsonpath={.status.phase}')
        case $state in
            '') return 1 ;;
            Running | Succeeded | Failed) return ;;
        esac
        state=$(kube get "$1" --ignore-not-found --output 'jsonpath={.status.containerStatuses[*].state.waiting.reason} {.status.containerStatuses[*].state.waiting.message} {.status.conditions[?(@.status=="False")].message}')
        if [[ -n ${state// /} && $state != "$told" ]]; then
            say "$1 waits: $state" && told=$state
        fi
        ((SECONDS < deadline)) || die "$1 did not start within $START_TIMEOUT s: kubectl -n $NAMESPACE describe $1" 69
        in_background sleep 1
    done
}

# show_log POD: its log to the end of the pod, also where the connection breaks off
show_log() {
    local since=
    while :; do
        in_background kubectl --namespace "$NAMESPACE" logs --follow --container backup ${since:+--since-time "$since"} "$1" || true
        since=$(date -u +%FT%TZ)
        # the end of a pod is known a moment after that of its log
        in_background sleep 1
        [[ $(kube get "$1" --ignore-not-found --output 'jsonpath={.status.phase}') = Running ]] || return 0
        say "the log of $1 broke off and goes on"
    done
}

# job_state JOB: its name and the conditions that hold; nothing when it is gone
job_state() { kube get job "$1" --ignore-not-found --output 'jsonpath={.metadata.name}{range .status.conditions[?(@.status=="True")]} {.type}{end}'; }

# follow JOB: the logs of its pods until it is over; its exit status is that of the last pod that failed
follow() {
    local job=$1 seen=" " pods pod state=' ' code='' failed='' deaf=0
    while [[ $state != *Complete* && $state != *Failed* ]]; do
        # a cluster that does not answer says nothing of the Job
        if ! state=$(job_state "$job"); then
            ((++deaf < 30)) || die "the cluster does not answer; job/$job may go on" 69
            state=' '
            in_background sleep 1
            continue
        fi
        deaf=0
        pods=$(kube get pods --selector "batch.kubernetes.io/job-name=$job" --sort-by=.metadata.creationTimestamp --output name)
        for pod in $pods; do
            [[ $seen != *" $pod "* ]] || continue
            seen+="$pod "
            await_start "$pod" || continue
            show_log "$pod"
            code=$(kube get "$pod" --ignore-not-found --output 'jsonpath={.status.containerStatuses[?(@.name=="backup")].state.terminated.exitCode}')
            [[ -z $code || $code = 0 ]] || failed=$code
        done
        if [[ -z $state ]]; then
            [[ $code != 0 || -n $failed ]] || return 0
            die "job/$job is gone before its end was seen${failed:+; its last exit code was $failed}" "${failed:-1}"
        fi
        in_background sleep 0.5
    done
    [[ $state != *Complete* ]] || return 0
    say "job/$job failed: $(kube get job "$job" --ignore-not-found --output 'jsonpath={.status.conditions[?(@.type=="Failed")].message}') (exit code ${failed:-none})"
    return "${failed:-1}"
}

# remove_job: the Job that only looked
remove_job() {
    kube delete job "$job" --ignore-not-found --wait=false >/dev/null
    kube delete pods --selector "batch.kubernetes.io/job-name=$job" --grace-period=1 --wait=false >/dev/null
}

# look CONTAINER-FIELDS [POD-FIELDS]: makes a Job that only looks, and goes with this script
look() {
    find_cronjob
    job=$cronjob-look-$(unique)
    like_cronjob "$job" "$(looking "$@")"
    endings+=(remove_job)
}

# run WORD…: runs the program with these words
run() {
    look "\"args\": $(json "$@")"
    follow "$job"
}

ns() {
    if kubectl get namespace "$NAMESPACE" >/dev/null 2>&1; then
        say "the namespace $NAMESPACE is there; it stays as it is"
    else
        kubectl create namespace "$NAMESPACE"
        kubectl label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted
    fi
}

secret() {
    local file=${ENV_FILE:-.env} name=${SECRET:-} verb=create lines
    name=${name:-$(fullname)}
    [[ -r $file ]] || die "$file cannot be read; name the environment file with ENV_FILE="
    # read as the program reads it: no byte order mark, no carriage returns, no blanks before a name
    lines=$(LC_ALL=C sed -E $'1s/^\xef\xbb\xbf//; s/\r$//; s/^[ \t]+//' "$file" |
        LC_ALL=C grep -aE "^($(paste -s -d '|' "$chart/files/secret-settings.txt"))=.") || die "$file holds no secret; its lines are NAME=value"
    if [[ -n $(kube get secret "$name" --ignore-not-found --output name) ]]; then verb=replace; fi
    # not `apply`, which would keep a copy in an annotation
    kubectl create secret generic "$name" --namespace "$NAMESPACE" --from-env-file=<(echo "$lines") --dry-run=client --output yaml |
        kubectl label --local --filename - "app.kubernetes.io/instance=$RELEASE" app.kubernetes.io/managed-by=k8s-secret --output yaml |
        kube "$verb" --filename -
    say "it holds $(LC_ALL=C cut -d= -f1 <<<"$lines" | paste -s -d ' ' -)"
}

deploy() {
    local options=(--reset-then-reuse-values)
    if [[ -n ${VALUES:-} ]]; then options=(--values "$VALUES"); fi
    if [[ -n ${IMAGE:-} ]]; then options+=(--set-string "image.repository=$IMAGE"); fi
    if [[ -n ${IMAGE_TAG:-} ]]; then options+=(--set-string "image.tag=$IMAGE_TAG"); fi
    helm upgrade --install "$RELEASE" "$chart" --namespace "$NAMESPACE" "${options[@]}"
}

# by_hand NAME [PATCH]: a Job of the CronJob, followed to its end
by_hand() {
    local job
    find_cronjob
    job=$cronjob-$1-$(unique)
    like_cronjob "$job" "${2:-}"
    say "job/$job"
    follow "$job"
}

logs() {
    local pod
    pod=$(kube get pods --selector "$(selector "${COMPONENT:-backup}")" --sort-by=.metadata.creationTimestamp --output name | tail -n 1)
    [[ -n $pod ]] || die "there is no pod of the release $RELEASE in $NAMESPACE; make k8s-test starts one"
    say "$pod"
    await_start "$pod"
    show_log "$pod"
}

pvc() {
    kube get pvc --selector "$(selector)"
    look '"command": ["df", "-h", "/backups"], "args": null'
    follow "$job"
}

status() {
    kube get cronjobs,jobs,pods,pvc --selector "$(selector)"
    run status
}

list() { run list ${DATABASE:+"--database=$DATABASE"}; }

download() {
    local output=${OUTPUT:-downloads} pod='' names name
    look '"command": ["sleep", "infinity"], "args": null' \
        ", \"volumes\": [{\"name\": \"scratch\", \"emptyDir\": {\"sizeLimit\": \"${SCRATCH:-100Gi}\"}}]"
    while [[ -z $pod ]]; do
        in_background sleep 0.5
        pod=$(kube get pods --selector "batch.kubernetes.io/job-name=$job" --output name)
    done
    await_start "$pod" || die "$pod is gone; try again" 69
    kube exec "$pod" --container backup -- backup download ${DATABASE:+"--database=$DATABASE"} --output /tmp/download -- "$BACKUP"
    names=$(kube exec "$pod" --container backup -- ls /tmp/download)
    mkdir -p "$output"
    # shellcheck disable=SC2016
    kube exec "$pod" --container backup -- sh -c 'cd "$1" && tar -cf - -- *' sh /tmp/download | tar -C "$output" --no-same-owner -xf -
    cd "$output"
    for name in $names; do
        if [[ $name = *.sha256 ]]; then sha256 -c "$name"; fi
    done
}

# make_restore ATTEMPT WORD…: renders the restore Job with the release's own values and makes it; sets `job`
make_restore() {
    local own restore attempt=$1 server
    shift
    server=$(kubectl version --output json | sed -n '/serverVersion/,$ s/.*"gitVersion": *"\([^"]*\)".*/\1/p')
    own=$(helm get values "$RELEASE" --namespace "$NAMESPACE" --output yaml)
    restore="{\"restore\": {\"database\": $(quoted "$DATABASE"), \"confirm\": $(quoted "$DATABASE"), \"backup\": $(quoted "$BACKUP"),
        \"from\": $(quoted "${FROM:-}"), \"attempt\": \"$attempt\", \"args\": $(json "$@")}}"
    if [[ -n ${CLUSTER:-} ]]; then restore="{\"clusters\": {\"$CLUSTER\": $restore}}"; fi
    restore=$(helm template "$RELEASE" "$chart" --namespace "$NAMESPACE" --values <(echo "$own") --values <(echo "$restore") \
        ${server:+--kube-version "$server"} --show-only templates/restore-job.yaml)
    job=$(kube create --output 'jsonpath={.metadata.name}' --filename - <<<"$restore")
}

# what is scaled down: each application and its replicas
apps=() replicas=()
scale_up() {
    local at
    for at in ${apps[@]+"${!apps[@]}"}; do
        kube scale "${apps[at]}" --replicas "${replicas[at]}" || say "scale ${apps[at]} to ${replicas[at]} replicas by hand"
    done
}

# A restore that is not over when this script ends is stopped before the application comes back.
end_restore() {
    local state
    state=$(job_state "$job") || state=unknown
    if [[ $state != *Complete* && $state != *Failed* ]] &&
        ! kube delete job "$job" --ignore-not-found --cascade=foreground --timeout 60s; then
        say "job/$job may be running; ${apps[*]:-nothing} stays scaled down: delete the Job, and then scale up by hand"
        return
    fi
    scale_up
}

scale_down() {
    local app count deadline=$((SECONDS + START_TIMEOUT))
    for app in ${APP:-}; do
        count=$(kube get "$app" --output 'jsonpath={.spec.replicas}')
        kube scale "$app" --replicas 0
        apps+=("$app") replicas+=("$count")
    done
    for app in ${apps[@]+"${apps[@]}"}; do
        while count=$(kube get "$app" --output 'jsonpath={.status.replicas}') && [[ ! $count =~ ^0?$ ]]; do
            ((SECONDS < deadline)) || die "$app did not stop within $START_TIMEOUT s; nothing was restored" 69
            in_background sleep 0.5
        done
        kube get "$app" --output name >/dev/null
    done
}

restore() {
    local words=() word app plan code=0 attempt
    [[ -n ${DATABASE:-} ]] || die "say with DATABASE= which database to restore, and with FROM= what it is restored from, where several are saved"
    find_cronjob
    while IFS= read -r word; do words+=("$word"); done < <(if [[ -n ${ARGS:-} ]]; then xargs -n 1 printf '%s\n' <<<"$ARGS"; fi)
    for app in ${APP:-}; do kube get "$app" --output name >/dev/null; done
    attempt=$(date -u +%Y%m%d)-$(unique)
    make_restore "$attempt-plan" ${words[@]+"${words[@]}"} --dry-run
    endings=(remove_job)
    follow "$job" || die "the restore could not be planned; nothing was changed" $?
    plan=$(kube logs "job/$job" --container backup)
    remove_job
    endings=()
    # the same backup as in the plan, whatever is made meanwhile
    if [[ $BACKUP = latest && ${ARGS:-} != *--before* ]]; then BACKUP=$(awk '$1 == "backup" { print $2; exit }' <<<"$plan"); fi
    [[ -n $BACKUP ]] || die "the plan names no backup; nothing was changed" 70
    if [[ -z ${CONFIRM:-} ]]; then
        [[ -t 0 ]] || die "nothing was changed: without a terminal, confirm with CONFIRM=$DATABASE"
        if [[ -n ${APP:-} ]]; then say "Meanwhile scaled to 0: $APP"; fi
        read -r -p "Type the name of the database to restore $BACKUP into $DATABASE: " CONFIRM
    fi
    [[ $CONFIRM = "$DATABASE" ]] || die "nothing was changed: $CONFIRM is not $DATABASE"
    endings=(end_restore)
    scale_down
    make_restore "$attempt" ${words[@]+"${words[@]}"}
    follow "$job" || code=$?
    exit "$code"
}

clean() {
    [[ -z ${CLUSTER:-} ]] || die "the release is uninstalled as a whole; take the server $CLUSTER out of its values instead, and make k8s-deploy"
    helm uninstall "$RELEASE" --namespace "$NAMESPACE" --ignore-not-found
    kube delete jobs --selector "$(selector)"
    kube delete secrets --selector "app.kubernetes.io/instance=$RELEASE,app.kubernetes.io/managed-by=k8s-secret"
    if [[ ${DELETE_DATA:-} = yes ]]; then
        kube delete pvc --selector "$(selector)"
    else
        kube get pvc --selector "$(selector)"
        say "the backups in these claims are kept; make k8s-clean DELETE_DATA=yes deletes them, too"
    fi
}

for tool in kubectl $(case ${1:-} in deploy | restore | clean) echo helm ;; esac); do
    command -v "$tool" >/dev/null || die "$tool is needed; install it" 69
done
case ${1:-} in
    ns | secret | deploy | logs | pvc | status | download | list | restore | clean) "$1" ;;
    test) by_hand test ;;
    backup) by_hand manual '{"spec": {"template": {"spec": {"containers": [{"name": "backup", "args": ["run", "--type", "manual"]}]}}}}' ;;
    *) die "$(sed -n '2p' "$0")" ;;
esac
