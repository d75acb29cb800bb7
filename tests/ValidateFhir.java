import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.SingleValidationMessage;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.instance.model.api.IBaseResource;
import org.hl7.fhir.r4.model.CodeSystem;
import org.hl7.fhir.r4.model.MetadataResource;

/** Validates FHIR R4 resources, one a line of the second file, by the CodeSystems and ValueSets of the first one. */
public class ValidateFhir {
    public static void main(String[] files) throws Exception {
        FhirContext context = FhirContext.forR4();
        Map<String, IBaseResource> codeSystems = new HashMap<>(), valueSets = new HashMap<>();
        for (String line : Files.readAllLines(Path.of(files[0]))) {
            MetadataResource resource = (MetadataResource) context.newJsonParser().parseResource(line);
            (resource instanceof CodeSystem ? codeSystems : valueSets).put(resource.getUrl(), resource);
        }
        PrePopulatedValidationSupport published =
            new PrePopulatedValidationSupport(context, new HashMap<>(), valueSets, codeSystems);
        FhirInstanceValidator module = new FhirInstanceValidator(new ValidationSupportChain(
            published,
            new DefaultProfileValidationSupport(context),
            new CommonCodeSystemsTerminologyService(context),
            new InMemoryTerminologyServerValidationSupport(context)));
        module.setErrorForUnknownProfiles(false);
        FhirValidator validator = context.newValidator().registerValidatorModule(module);
        int place = 0;
        for (String line : Files.readAllLines(Path.of(files[1]))) {
            place++;
            for (SingleValidationMessage each : validator.validateWithResult(line).getMessages())
                System.out.println(place + "\t" + each.getSeverity() + "\t" + each.getLocationString() + "\t"
                    + each.getMessage().replace("\n", " "));
        }
        System.err.println(place + " resources");
    }
}
