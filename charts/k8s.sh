#!/usr/bin/env bash
# What the k8s-… targets of the Makefile do: k8s.sh ns|secret|deploy|test|backup|logs|pvc|status|download|list|restore|clean
# Needs kubectl and helm, and takes the current context.
#
#   NAMESPACE, RELEASE  where
#   IMAGE, IMAGE_TAG    deploy: the image, where it is not that of the values
#   VALUES              deploy: a values file; without it the release keeps its values
#   ENV_FILE            secret: the secrets of this environment file
#   CLUSTER             which server of a release that has several (an entry of `clusters`)
#   BACKUP, DATABASE    download, restore: which backup (latest), and of or into which database
#   FROM, ARGS, APP     restore: database of the backup, more arguments, what is scaled down meanwhile
#   OUTPUT              download: folder
#   DELETE_DATA=yes     clean: the volume too
set -euo pipefail
chart=$(cd "$(dirname "$0")" && pwd)/postgres-backup
: "${NAMESPACE:?}" "${RELEASE:?}"
BACKUP=${BACKUP:-latest}

say() { echo "$*" >&2; }
die() {
    say "$1"
    exit "${2:-64}"
}
kube() { kubectl --namespace "$NAMESPACE" "$@"; }
now() { date -u +%Y%m%d%H%M%S; }

# quoted TEXT: as a JSON string
quoted() {
    local text=${1//\\/\\\\}
    echo "\"${text//\"/\\\"}\""
}

# json WORD…: the words as a JSON array
json() {
    local word list=''
    for word in "$@"; do list+="${list:+, }$(quoted "$word")"; done
    echo "[$list]"
}

# the chart's name for the release, as long as that is not cut or overridden
fullname() { case $RELEASE in *postgres-backup*) echo "$RELEASE" ;; *) echo "$RELEASE-postgres-backup" ;; esac; }

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
        kube create --filename - >&2
}

# A patch for a Job that only looks: one pod, no retry, nobody's success, and these fields of the container
looking() {
    cat <<J
{"metadata": {"ownerReferences": null, "labels": {"app.kubernetes.io/component": "look"}},
 "spec": {"completionMode": "NonIndexed", "completions": 1, "parallelism": 1, "backoffLimit": 0,
          "backoffLimitPerIndex": null, "podFailurePolicy": null, "template": {
   "metadata": {"labels": {"app.kubernetes.io/component": "look"}},
   "spec": {"containers": [{"name": "backup", $1,
     "env": [{"name": "SHARD_COUNT", "\$patch": "delete"}, {"name": "LOG_LEVEL", "value": "warn"}]}]
     ${2:-}}}}}
J
}

is_over() { kube get "job/$1" --output 'jsonpath={.status.conditions[?(@.status=="True")].type}' | grep -qE 'Complete|Failed'; }

# await_start POD: until its container has begun, or says why it does not
await_start() {
    local reason told='' deadline=$((SECONDS + ${START_TIMEOUT:-300}))
    while :; do
        case $(kube get "$1" --output 'jsonpath={.status.phase}') in Running | Succeeded | Failed) return ;; esac
        reason=$(kube get "$1" --output 'jsonpath={.status.containerStatuses[*].state.waiting.reason} {.status.containerStatuses[*].state.waiting.message} {.status.conditions[?(@.status=="False")].message}' | xargs -0)
        if [[ -n ${reason// /} && $reason != "$told" ]]; then
            say "$1 waits: $reason" && told=$reason
        fi
        ((SECONDS < deadline)) || die "$1 did not start within ${START_TIMEOUT:-300} s: kubectl -n $NAMESPACE describe $1" 69
        sleep 1
    done
}

# follow JOB: the logs of its pods until it is over; its exit status is that of the last pod that failed
follow() {
    local job=$1 seen=" " pods pod over=no code
    while [[ $over = no ]]; do
        if is_over "$job"; then over=yes; fi
        pods=$(kube get pods --selector "batch.kubernetes.io/job-name=$job" --sort-by=.metadata.creationTimestamp --output name)
        for pod in $pods; do
            [[ $seen != *" $pod "* ]] || continue
            await_start "$pod"
            kube logs --follow --container backup "$pod" || true
            seen+="$pod "
        done
        [[ $over = yes ]] || sleep 1
    done
    if kube get "job/$job" --output 'jsonpath={.status.conditions[?(@.type=="Complete")].status}' | grep -q True; then return 0; fi
    code=$(kube get pods --selector "batch.kubernetes.io/job-name=$job" --sort-by=.metadata.creationTimestamp --output \
        'jsonpath={range .items[?(@.status.phase=="Failed")]}{.status.containerStatuses[?(@.name=="backup")].state.terminated.exitCode}{"\n"}{end}' | tail -n 1)
    say "job/$job failed: $(kube get "job/$job" --output 'jsonpath={.status.conditions[?(@.type=="Failed")].message}') (exit code ${code:-none})"
    if [[ -z $code || $code = 0 ]]; then code=1; fi
    return "$code"
}

# look CONTAINER-FIELDS: runs a Job that only looks, shows its log, and removes it
look() {
    local job code=0
    find_cronjob
    job=$cronjob-look-$(now | tail -c 7)
    like_cronjob "$job" "$(looking "$1")" 2>/dev/null
    # shellcheck disable=SC2064
    trap "kubectl --namespace '$NAMESPACE' delete job '$job' --wait=false >/dev/null" EXIT
    follow "$job" || code=$?
    exit "$code"
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
    local file=${ENV_FILE:-.env} name verb=create lines
    name=$(fullname)
    [[ -r $file ]] || die "$file cannot be read; name the environment file with ENV_FILE="
    lines=$(grep -E "^($(paste -sd '|' "$chart/files/secret-settings.txt"))=." "$file") || die "$file holds no secret; its lines are NAME=value"
    if kube get secret "$name" >/dev/null 2>&1; then verb=replace; fi
    # not `apply`, which would keep a copy in an annotation
    kubectl create secret generic "$name" --namespace "$NAMESPACE" --from-env-file=<(echo "$lines") --dry-run=client --output yaml |
        kubectl label --local --filename - "app.kubernetes.io/instance=$RELEASE" app.kubernetes.io/managed-by=k8s-secret --output yaml |
        kube "$verb" --filename -
    say "it holds $(cut -d= -f1 <<<"$lines" | paste -sd ' ')"
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
    job=$cronjob-$1-$(now | tail -c 11)
    like_cronjob "$job" "${2:-}"
    follow "$job"
}

logs() {
    local pod
    pod=$(kube get pods --selector "$(selector "${COMPONENT:-backup}")" --sort-by=.metadata.creationTimestamp --output name | tail -n 1)
    [[ -n $pod ]] || die "there is no pod of the release $RELEASE in $NAMESPACE; make k8s-test starts one"
    say "$pod"
    await_start "$pod"
    kube logs --follow --all-containers "$pod"
}

pvc() {
    kube get pvc --selector "$(selector)"
    look '"command": ["df", "-h", "/backups"], "args": null'
}

status() {
    kube get cronjobs,jobs,pods,pvc --selector "$(selector)"
    look "\"args\": $(json status)"
}

download() {
    local output=${OUTPUT:-downloads} job pod
    local wanted=("$BACKUP")
    if [[ -n ${DATABASE:-} ]]; then wanted+=(--database "$DATABASE"); fi
    find_cronjob
    job=$cronjob-look-$(now | tail -c 7)
    like_cronjob "$job" "$(looking '"command": ["sleep", "infinity"], "args": null' \
        ", \"volumes\": [{\"name\": \"scratch\", \"emptyDir\": {\"sizeLimit\": \"${SCRATCH:-100Gi}\"}}]")"
    # shellcheck disable=SC2064
    trap "kubectl --namespace '$NAMESPACE' delete job '$job' --wait=false >/dev/null
          kubectl --namespace '$NAMESPACE' delete pod --selector 'batch.kubernetes.io/job-name=$job' --grace-period=1 --wait=false >/dev/null" EXIT
    until pod=$(kube get pods --selector "batch.kubernetes.io/job-name=$job" --output name) && [[ -n $pod ]]; do sleep 1; done
    await_start "$pod"
    kube exec "$pod" --container backup -- backup download "${wanted[@]}" --output /tmp/download
    mkdir -p "$output"
    kube exec "$pod" --container backup -- tar -C /tmp/download -cf - . | tar -C "$output" -xf -
    (cd "$output" && for sum in *.sha256; do sha256sum --check "$sum"; done)
}

# restore_job ARGUMENT…: renders the restore Job with the release's own values, and makes it; prints its name
restore_job() {
    local values restore
    values=$(mktemp -d)
    helm get values "$RELEASE" --namespace "$NAMESPACE" --output yaml >"$values/release.yaml"
    restore="{\"restore\": {\"database\": $(quoted "$DATABASE"), \"confirm\": $(quoted "$DATABASE"), \"backup\": $(quoted "$BACKUP"),
        \"from\": $(quoted "${FROM:-}"), \"attempt\": \"$(now)-$RANDOM\", \"args\": $(json "$@")}}"
    if [[ -n ${CLUSTER:-} ]]; then restore="{\"clusters\": {\"$CLUSTER\": $restore}}"; fi
    echo "$restore" >"$values/restore.yaml"
    helm template "$RELEASE" "$chart" --namespace "$NAMESPACE" --values "$values/release.yaml" --values "$values/restore.yaml" \
        --show-only templates/restore-job.yaml | kube create --filename - --output 'jsonpath={.metadata.name}'
    rm -r "$values"
}

# replicas of each application, to be put back whatever happens
declare -A replicas
scale_up() {
    local app
    for app in "${!replicas[@]}"; do
        kube scale "$app" --replicas "${replicas[$app]}" || say "scale $app to ${replicas[$app]} replicas by hand"
    done
}

restore() {
    local words app job code=0
    [[ -n ${DATABASE:-} ]] || die "say with DATABASE= which database to restore, and with FROM= what it is restored from, where several are saved"
    read -ra words <<<"${ARGS:-}"
    job=$(restore_job "${words[@]}" --dry-run)
    follow "$job" || die "job/$job could not plan the restore; nothing was changed" $?
    if [[ -z ${CONFIRM:-} ]]; then
        [[ -t 0 ]] || die "nothing was changed: without a terminal, confirm with CONFIRM=$DATABASE"
        if [[ -n ${APP:-} ]]; then say "Meanwhile scaled to 0: $APP"; fi
        read -r -p "Type the name of the database to restore $BACKUP into $DATABASE: " CONFIRM
    fi
    [[ $CONFIRM = "$DATABASE" ]] || die "nothing was changed: $CONFIRM is not $DATABASE"
    for app in ${APP:-}; do
        replicas[$app]=$(kube get "$app" --output 'jsonpath={.spec.replicas}')
    done
    trap scale_up EXIT
    for app in ${APP:-}; do kube scale "$app" --replicas 0; done
    for app in ${APP:-}; do
        until [[ $(kube get "$app" --output 'jsonpath={.status.replicas}') =~ ^0?$ ]]; do sleep 1; done
    done
    job=$(restore_job "${words[@]}")
    follow "$job" || code=$?
    exit "$code"
}

clean() {
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

case ${1:-} in
    ns | secret | deploy | logs | pvc | status | download | restore | clean) "$1" ;;
    test) by_hand test ;;
    backup) by_hand manual '{"spec": {"template": {"spec": {"containers": [{"name": "backup", "args": ["run", "--type", "manual"]}]}}}}' ;;
    list) look "\"args\": $(json list ${DATABASE:+--database "$DATABASE"})" ;;
    *) die "$(sed -n '2p' "$0")" ;;
esac
