# The state holds the Redis AUTH string: keep it where few can read it, in a bucket with versions for example. Such a
# place is named when Terraform starts, so that no project's name stands here:
#   terraform init -backend-config=bucket=MY-STATE -backend-config=prefix=tandem
terraform {
  required_version = ">= 1.9, < 2.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 8.7"
    }
  }

  backend "gcs" {}
}

provider "google" {
  project = var.project
  region  = var.region
}
