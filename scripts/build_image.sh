#!/usr/bin/env bash
# Build the image of this commit as IMAGE:GITSHA-ACCEL, by Cloud Build or a local docker. Its name is the last line.
set -euo pipefail
usage="usage: scripts/build_image.sh --image REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME [--accel cpu|tpu|cuda12|cuda13]
           [--run-as UID] [--local [--push]] [--allow-dirty] [--dry-run]
  --accel        what jax is installed for (default: cuda12)
  --run-as       user number in the container (default: 0, root)
  --local        build by the docker of this machine; Cloud Build otherwise, which pushes too
  --push         push what --local has built
  --allow-dirty  build although files differ from the commit; the tag ends in -dirty
  --dry-run      print the commands and run none"

refuse() {
    echo "build_image.sh: error: $1" >&2
    exit 2
}

image="" accel=cuda12 run_as=0 local=false push=false allow_dirty=false dry_run=false
while (($#)); do
    # --name=value is --name value.
    if [[ $1 == --*=* ]]; then set -- "${1%%=*}" "${1#*=}" "${@:2}"; fi
    case $1 in
        --image | --accel | --run-as)
            (($# > 1)) || refuse "$1 has no value"
            case $1 in
                --image) image=$2 ;;
                --accel) accel=$2 ;;
                --run-as) run_as=$2 ;;
            esac
            shift
            ;;
        --local) local=true ;;
        --push) push=true ;;
        --allow-dirty) allow_dirty=true ;;
        --dry-run) dry_run=true ;;
        -h | --help) echo "$usage" && exit ;;
        *) refuse "argument is '$1'; allowed: --image, --accel, --run-as, --local, --push, --allow-dirty, --dry-run" ;;
    esac
    shift
done

name='[a-z0-9]+([._-]+[a-z0-9]+)*'
registry="^[a-z0-9-]+-docker\.pkg\.dev/([a-z][a-z0-9-]+)(/$name){2,}$"
project=""
case $accel in
    cpu | tpu | cuda12 | cuda13) ;;
    *) refuse "--accel is '$accel'; allowed: cpu, tpu, cuda12, cuda13" ;;
esac
[[ $run_as =~ ^[0-9]+$ ]] || refuse "--run-as is '$run_as'; allowed: the number of a user, such as 0 or 1000"
$local || ! $push || refuse "--push is set without --local; allowed: --local --push, or neither, as Cloud Build pushes"
[[ ${image##*/} != *[:@]* ]] || refuse "--image is '$image'; allowed: a name without a tag, which the commit gives"
if [[ $image =~ $registry ]]; then
    project=${BASH_REMATCH[1]}
elif ! $local || $push; then
    refuse "--image is '$image'; allowed: REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME in lower case"
elif [[ ! $image =~ ^$name(:[0-9]+)?(/$name)*$ ]]; then
    refuse "--image is '$image'; allowed: a name in lower case, such as jaxbandit"
fi

cd "$(dirname "$0")/.."
# Seven characters, as Cloud Build's triggers have them.
sha=$(git rev-parse --short=7 HEAD 2>/dev/null) || refuse "there is no git commit here, which names the image"
suffix=""
if [[ -n $(git status --porcelain) ]]; then
    $allow_dirty || refuse "files differ from the commit that names the image; commit them, or --allow-dirty"
    suffix=-dirty
fi
full=$image:$sha-$accel$suffix

run() {
    if $dry_run; then
        echo "$*"
        return
    fi
    command -v "$1" >/dev/null || refuse "$1 is not installed here"
    # Only the name goes to stdout, for scripts.
    "$@" >&2
}

if $local; then
    # Of the machines that jobs run on, also where the docker is that of an ARM laptop.
    run docker build --platform=linux/amd64 "--build-arg=ACCEL=$accel" "--build-arg=RUN_AS=$run_as" "--tag=$full" .
    if $push; then run docker push "$full"; fi
else
    values=SHORT_SHA=$sha,_ACCEL=$accel,_IMAGE=$image,_RUN_AS=$run_as
    if [[ -n $suffix ]]; then values+=,_SUFFIX=$suffix; fi
    run gcloud builds submit "--project=$project" --config=cloudbuild.yaml "--substitutions=$values" .
fi
echo "$full"
