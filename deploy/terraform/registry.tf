resource "google_artifact_registry_repository" "tandem" {
  repository_id = "tandem"
  location      = var.region
  format        = "DOCKER"
  description   = "Images of Tandem. What is deployed is named by its digest."

  docker_config {
    immutable_tags = true # a tag is a build's id, and stays with what that build made
  }

  cleanup_policies {
    id     = "keep-the-last"
    action = "KEEP"

    most_recent_versions {
      keep_count = 20 # as far back as one can roll
    }
  }

  cleanup_policies {
    id     = "forget-the-old"
    action = "DELETE"

    condition {
      older_than = "2592000s" # 30 days
    }
  }

  depends_on = [google_project_service.apis]
}

# The lists of parts (SBOM) that the pipeline files with each image.
resource "google_storage_bucket" "sbom" {
  name                        = "${var.project}-tandem-sbom"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
}
