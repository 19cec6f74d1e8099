"""What a streamed event costs in Tandem, against a plain pass-through in front of the same upstream."""
